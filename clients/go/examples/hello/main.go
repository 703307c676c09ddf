// Hello creates a task that runs in a second, waits for it and prints its result.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"timeball.example/timeball"
)

func main() {
	ctx := context.Background()
	client, err := timeball.Dial() // TIMEBALL_ADDRESS, else 127.0.0.1:7466
	must(err)
	defer client.Close()

	task, err := timeball.NewTask("hello.greet", map[string]string{"name": "sailor"})
	must(err)
	task.Delay = durationpb.New(time.Second)
	task, err = client.Create(ctx, task)
	must(err)
	task, err = client.Wait(ctx, task.Name)
	must(err)
	var greeting string
	must(timeball.Result(task, &greeting))
	fmt.Println(greeting)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
