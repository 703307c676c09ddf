package timeball

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"timeball.example/timeball/timeballv1"
)

// Update changes what a task that waits will do; nothing starts as it was before its answer.
//
// The task says which one by its name or its id, and the new values of the fields: payload,
// priority, labels, selector, retry, timeouts. Each is changed as a whole; without fields those
// that the task sets are. Its Etag may be empty: then it changes whatever there is.
//
// It fails with [TooLate] when an attempt has started or the task has ended, and with [StaleEtag]
// when somebody else has changed it since; nothing was changed then.
func (c *Client) Update(ctx context.Context, task *timeballv1.Task, fields []string, options ...Option) (*timeballv1.Task, error) {
	id, resend := wish(options)
	changed := proto.Clone(task).(*timeballv1.Task)
	changed.Name = c.name(task.GetName())
	request := &timeballv1.UpdateTaskRequest{
		Task: changed, UpdateMask: &fieldmaskpb.FieldMask{Paths: fields}, RequestId: id, Resend: resend,
	}
	answer, err := call(ctx, c, c.tasks.UpdateTask, request)
	return answer.GetTask(), err
}

// Reschedule moves the next attempt of a task that waits to an instant; the zero time is now.
//
// It fails as [Client.Update] does.
func (c *Client) Reschedule(ctx context.Context, task string, at time.Time, options ...Option) (*timeballv1.Task, error) {
	id, resend := wish(options)
	request := &timeballv1.RescheduleTaskRequest{
		Name: c.name(task), Etag: saying(options).etag, RequestId: id, Resend: resend,
	}
	if !at.IsZero() {
		request.When = &timeballv1.RescheduleTaskRequest_RunTime{RunTime: timestamppb.New(at)}
	}
	answer, err := call(ctx, c, c.tasks.RescheduleTask, request)
	return answer.GetTask(), err
}

// Delete removes a task that has ended; what it did is not undone.
//
// It fails with [FailedPrecondition] when the task has not ended: cancel it first.
func (c *Client) Delete(ctx context.Context, task string, options ...Option) error {
	id, resend := wish(options)
	request := &timeballv1.DeleteTaskRequest{
		Name: c.name(task), Etag: saying(options).etag, RequestId: id, Resend: resend,
	}
	_, err := call(ctx, c, c.tasks.DeleteTask, request)
	return err
}

// Retry has a task done now, and returns who does it: the task itself if it waits, a new one, made
// once, if it FAILED.
//
// It fails with [TooLate] when an attempt runs, and with [FailedPrecondition] when the task has
// ended and did not fail.
func (c *Client) Retry(ctx context.Context, task string, options ...Option) (*timeballv1.Task, error) {
	id, resend := wish(options)
	request := &timeballv1.RetryTaskRequest{Name: c.name(task), RequestId: id, Resend: resend}
	answer, err := call(ctx, c, c.tasks.RetryTask, request)
	return answer.GetTask(), err
}
