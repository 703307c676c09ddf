package timeball

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"timeball.example/timeball/timeballv1"
)

const (
	// The service waits at most a minute; asking for less notices a dead one sooner.
	waitRound  = 30 * time.Second
	waitMargin = 5 * time.Second
	// A wait outlives an outage that is no longer than this.
	outageMax = time.Minute
)

// Wait returns a task when it has ended, whichever way; Result says which.
//
// It waits until its context ends, and fails with [WaitTimeout] then; the task goes on. A broken
// connection is taken up again.
func (c *Client) Wait(ctx context.Context, task string) (*timeballv1.Task, error) {
	name, well, repetition := c.name(task), time.Now(), 0
	for {
		asked := time.Now()
		answer, round, err := c.waitRound(ctx, name)
		switch {
		case err == nil && answer.Done:
			return answer.Task, nil
		case ctx.Err() != nil:
			return nil, waitTimeout(name, ctx.Err(), err)
		case err != nil:
			failure := errorOf(err)
			if !failure.Retryable() || time.Since(well) > outageMax {
				return nil, failure
			}
			pause(ctx, retryDelay(failure, repetition))
			repetition++
		default:
			well, repetition = time.Now(), 0
			if time.Since(asked) < round {
				// Answered too early, for example by a server that is shutting down: do not spin.
				pause(ctx, backoffFirst)
			}
		}
	}
}

// waitRound asks once, for no longer than the context lasts.
func (c *Client) waitRound(ctx context.Context, name string) (*timeballv1.WaitTaskResponse, time.Duration, error) {
	round := waitRound
	if until, bounded := ctx.Deadline(); bounded {
		round = max(min(round, time.Until(until)), time.Millisecond)
	}
	request := &timeballv1.WaitTaskRequest{Name: name, Timeout: durationpb.New(round)}
	answer, err := attempt(ctx, c, round+waitMargin, c.tasks.WaitTask, request)
	return answer, round, err
}

func waitTimeout(name string, ended, last error) *Error {
	return &Error{
		Code:    status.FromContextError(ended).Code(),
		Reason:  WaitTimeout,
		Message: name + " has not ended yet; it goes on, wait again or cancel it",
		cause:   errors.Join(ended, last),
	}
}
