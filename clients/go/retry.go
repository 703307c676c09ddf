package timeball

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 2 * time.Second
	// One address that does not answer must not use up the whole deadline of a call.
	attemptMax = 5 * time.Second
)

// method is one method of a generated client.
type method[Q, A any] func(context.Context, Q, ...grpc.CallOption) (A, error)

// call sends a request until it is answered, refused for good, or no time is left.
//
// Repetitions carry the same request id and say that they are repetitions.
func call[Q, A proto.Message](ctx context.Context, c *Client, send method[Q, A], request Q) (A, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.deadline)
		defer cancel()
	}
	for repetition := 0; ; repetition++ {
		answer, err := attempt(ctx, c, attemptMax, send, request)
		if err == nil {
			return answer, nil
		}
		var none A
		if ctx.Err() != nil {
			return none, cutShort(ctx.Err(), err)
		}
		failure := errorOf(err)
		delay := retryDelay(failure, repetition)
		if !failure.Retryable() || !hasRoom(ctx, delay) {
			return none, failure
		}
		pause(ctx, delay)
		markResent(request)
	}
}

// attempt sends a request once.
func attempt[Q, A any](ctx context.Context, c *Client, limit time.Duration, send method[Q, A], request Q) (answer A, err error) {
	if c.connection.GetState() == connectivity.Shutdown {
		return answer, status.Error(codes.FailedPrecondition, "the client is closed")
	}
	ctx, cancel := context.WithTimeout(c.asCaller(ctx), limit)
	defer cancel()
	return send(ctx, request)
}

// markResent makes a request say that it is a repetition, if it can.
func markResent(request proto.Message) {
	message := request.ProtoReflect()
	if field := message.Descriptor().Fields().ByName("resend"); field != nil {
		message.Set(field, protoreflect.ValueOfBool(true))
	}
}

// retryDelay is how long to wait before the next try.
//
// Full jitter, so that callers who failed together do not come back together; added to what the
// service asked for, never instead of it.
func retryDelay(failure *Error, repetition int) time.Duration {
	ceiling := min(backoffFirst<<min(repetition, 16), backoffMax)
	return failure.RetryAfter + rand.N(ceiling)
}

// hasRoom says whether the context lasts for longer than this.
func hasRoom(ctx context.Context, length time.Duration) bool {
	until, bounded := ctx.Deadline()
	return !bounded || time.Until(until) > length
}

// pause lets this much time pass, unless the context ends before.
func pause(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
