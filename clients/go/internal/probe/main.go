// Probe does what it is told, so that one suite of tests can drive the clients of every language:
// a JSON object per line on standard input says what, a JSON object per line on standard output
// says what came of it. See tests/polyglot.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"timeball.example/timeball"
	"timeball.example/timeball/timeballv1"
)

// order is one line of input.
type order struct {
	Verb      string         `json:"verb"`
	Task      string         `json:"task"`
	Handler   string         `json:"handler"`
	Arguments map[string]any `json:"arguments"`
	Owner     string         `json:"owner"`
	DelayMs   int64          `json:"delay_ms"`
	PageSize  int32          `json:"page_size"`
	Reason    string         `json:"reason"`
	RequestID string         `json:"request_id"`
	Etag      string         `json:"etag"`
	Terminate bool           `json:"terminate"`
	Priority  int32          `json:"priority"`
	RunMs     int64          `json:"run_ms"`
	TimeoutMs int64          `json:"timeout_ms"`
}

// outcome is one line of output.
type outcome struct {
	Tasks  []seen          `json:"tasks,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *refusal        `json:"error,omitempty"`
}

type seen struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Owner   string `json:"owner"`
	Attempt int32  `json:"attempt"`
	DueMs   int64  `json:"due_ms"`
	Etag    string `json:"etag"`
}

type refusal struct {
	Reason       string            `json:"reason"`
	Message      string            `json:"message"`
	Fields       []string          `json:"fields"`
	Metadata     map[string]string `json:"metadata"`
	RetryAfterMs int64             `json:"retry_after_ms"`
}

func main() {
	client, err := timeball.Dial()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var made outcome
		if err := carryOut(client, orders.Bytes(), &made); err != nil {
			made.Error = refusalOf(err)
		}
		line, err := json.Marshal(made)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
}

func carryOut(client *timeball.Client, line []byte, made *outcome) error {
	var given order
	if err := json.Unmarshal(line, &given); err != nil {
		return err
	}
	ctx := context.Background()
	if given.TimeoutMs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(given.TimeoutMs)*time.Millisecond)
		defer cancel()
	}
	return do(ctx, client, &given, made)
}

func do(ctx context.Context, client *timeball.Client, given *order, made *outcome) error {
	var options []timeball.Option
	if given.RequestID != "" {
		options = append(options, timeball.WithRequestID(given.RequestID))
	}
	if given.Etag != "" {
		options = append(options, timeball.WithEtag(given.Etag))
	}
	if given.Terminate {
		options = append(options, timeball.WithTermination())
	}
	switch given.Verb {
	case "update":
		task := &timeballv1.Task{Name: given.Task, Etag: given.Etag, Priority: &given.Priority}
		return made.take(client.Update(ctx, task, []string{"priority"}, options...))
	case "reschedule":
		var at time.Time
		if given.RunMs > 0 {
			at = time.UnixMilli(given.RunMs)
		}
		return made.take(client.Reschedule(ctx, given.Task, at, options...))
	case "retry":
		return made.take(client.Retry(ctx, given.Task, options...))
	case "delete":
		return client.Delete(ctx, given.Task, options...)
	case "create":
		task, err := timeball.NewTask(given.Handler, given.Arguments)
		if err != nil {
			return err
		}
		task.Owner = given.Owner
		task.Delay = durationpb.New(time.Duration(given.DelayMs) * time.Millisecond)
		return made.take(client.Create(ctx, task, options...))
	case "get":
		return made.take(client.Get(ctx, given.Task))
	case "cancel":
		return made.take(client.Cancel(ctx, given.Task, given.Reason, options...))
	case "wait":
		task, err := client.Wait(ctx, given.Task)
		if err := made.take(task, err); err != nil {
			return err
		}
		return timeball.Result(task, &made.Result)
	case "list":
		request := &timeballv1.ListTasksRequest{Owner: given.Owner, PageSize: given.PageSize}
		for task, err := range client.List(ctx, request) {
			if err := made.take(task, err); err != nil {
				return err
			}
		}
		return nil
	default:
		return errors.New("no such verb: " + given.Verb)
	}
}

// take adds a task to the outcome.
func (made *outcome) take(task *timeballv1.Task, err error) error {
	if err == nil {
		made.Tasks = append(made.Tasks, seen{
			Name:    task.Name,
			State:   strings.TrimPrefix(task.State.String(), "TASK_STATE_"),
			Owner:   task.Owner,
			Attempt: task.Attempt,
			DueMs:   task.DueTime.AsTime().UnixMilli(),
			Etag:    task.Etag,
		})
	}
	return err
}

func refusalOf(err error) *refusal {
	var failure *timeball.Error
	if !errors.As(err, &failure) {
		return &refusal{Message: err.Error()}
	}
	made := &refusal{
		Reason:       string(failure.Reason),
		Message:      failure.Message,
		Metadata:     failure.Metadata,
		RetryAfterMs: failure.RetryAfter.Milliseconds(),
	}
	for _, violation := range failure.Violations {
		made.Fields = append(made.Fields, violation.Field)
	}
	return made
}
