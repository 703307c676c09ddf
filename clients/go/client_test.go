package timeball

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"timeball.example/timeball/timeballv1"
)

func TestRequestIDsAreUUIDsOfVersion7InTheOrderOfTime(t *testing.T) {
	now := time.UnixMilli(0x0199_8765_4321)
	first, second := NewRequestID(now), NewRequestID(now.Add(time.Millisecond))
	form := regexp.MustCompile(`^01998765-4321-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if !form.MatchString(first) {
		t.Errorf("%s does not match %s", first, form)
	}
	if first >= second {
		t.Errorf("%s is not before %s", first, second)
	}
	if first == NewRequestID(now) {
		t.Error("two ids of one millisecond are equal")
	}
}

func TestDelaysGrowToALimitOnTopOfWhatTheServiceAsks(t *testing.T) {
	advice := 3 * time.Second
	ceilings := map[int]time.Duration{0: 100 * time.Millisecond, 3: 800 * time.Millisecond, 99: 2 * time.Second}
	for repetition, ceiling := range ceilings {
		for range 100 {
			delay := retryDelay(&Error{RetryAfter: advice}, repetition)
			if delay < advice || delay >= advice+ceiling {
				t.Fatalf("repetition %d waits %s, not between %s and %s more", repetition, delay, advice, ceiling)
			}
		}
	}
}

func TestAnErrorIsItsReasonAndWhatEndedTheCall(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	client, err := Dial("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Create(ctx, &timeballv1.Task{Handler: "any"})
	if !errors.Is(err, OutcomeUnknown) || !errors.Is(err, context.Canceled) || errors.Is(err, TooLate) {
		t.Errorf("a cancelled creation fails as %v", err)
	}
	_, err = client.Wait(ctx, "any")
	if !errors.Is(err, WaitTimeout) || !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait fails as %v", err)
	}
}

func TestNobodyAnswersUntilTheDeadline(t *testing.T) {
	client, err := Config{Addresses: []string{"127.0.0.1:1"}, Deadline: 200 * time.Millisecond}.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Get(context.Background(), "any")
	var failure *Error
	if !errors.As(err, &failure) || !failure.Retryable() {
		t.Errorf("a call that nobody answers fails as %v", err)
	}
	for _, err := range client.List(context.Background(), nil) {
		if !errors.As(err, &failure) {
			t.Errorf("a list that nobody answers fails as %v", err)
		}
	}
}

func TestAClosedClientSaysSoAtOnce(t *testing.T) {
	client, err := Dial("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error)
	go func() {
		_, err := client.Wait(context.Background(), "any")
		waited <- err
	}()
	client.Close()
	_, err = client.Get(context.Background(), "any")
	for _, err := range []error{err, <-waited} {
		var failure *Error
		if !errors.As(err, &failure) || failure.Message != "the client is closed" {
			t.Errorf("a call of a closed client fails as %v", err)
		}
	}
}

func TestAddressesThatCannotBeMeantAreRefused(t *testing.T) {
	for _, addresses := range [][]string{
		{"http://127.0.0.1:7466"}, {"127.0.0.1"}, {":7466"}, {"127.0.0.1:"}, {"127.0.0.1:7466", "nowhere"},
	} {
		if _, err := Dial(addresses...); !errors.Is(err, InvalidRequest) {
			t.Errorf("%q fails as %v", addresses, err)
		}
	}
	for _, addresses := range [][]string{{"[::1]:7466"}, {"scheduler.example:7466", "127.0.0.1:7467"}} {
		client, err := Dial(addresses...)
		if err != nil {
			t.Fatalf("%q fails as %v", addresses, err)
		}
		client.Close()
	}
}

func TestArgumentsWithoutAJSONFormAreRefused(t *testing.T) {
	if _, err := NewTask("any", make(chan int)); !errors.Is(err, InvalidRequest) {
		t.Errorf("a channel as arguments fails as %v", err)
	}
	task, err := NewTask("any", nil)
	if err != nil || string(task.Payload.Data) != "{}" {
		t.Errorf("no arguments are %q, %v", task.GetPayload().GetData(), err)
	}
}

func TestAResultIsReadIntoItsType(t *testing.T) {
	task := &timeballv1.Task{
		State:  timeballv1.TaskState_TASK_STATE_SUCCEEDED,
		Result: &timeballv1.Payload{Data: []byte(`{"count": 2}`)},
	}
	var total struct{ Count int }
	if err := Result(task, &total); err != nil || total.Count != 2 {
		t.Errorf("read %v, %v", total, err)
	}
	var words []string
	var failure *Error
	if err := Result(task, &words); !errors.As(err, &failure) || failure.Code != codes.FailedPrecondition {
		t.Errorf("another type fails as %v", err)
	}
	task.Result = nil
	if err := Result(task, &words); err != nil || words != nil {
		t.Errorf("nothing is read as %v, %v", words, err)
	}
}
