package timeball

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const domain = "timeball.dev"

// Reason is the stable word for why a call failed. It is an error, so that
// errors.Is(err, timeball.TooLate) asks for it. docs/api/errors.md has all of them; a newer
// service may have more.
type Reason string

// Reasons that programs ask for most.
const (
	InvalidRequest     Reason = "INVALID_REQUEST"
	TaskNotFound       Reason = "TASK_NOT_FOUND"
	AlreadyExists      Reason = "ALREADY_EXISTS"
	Unauthenticated    Reason = "UNAUTHENTICATED"
	PermissionDenied   Reason = "PERMISSION_DENIED"
	FailedPrecondition Reason = "FAILED_PRECONDITION"
	TooLate            Reason = "TOO_LATE"          // the attempt has started; nothing was changed
	RequestIDReused    Reason = "REQUEST_ID_REUSED" // the same request id, other content
	Aborted            Reason = "ABORTED"
	StaleEtag          Reason = "STALE_ETAG"
	Unavailable        Reason = "UNAVAILABLE"
	ResourceExhausted  Reason = "RESOURCE_EXHAUSTED"
	OutcomeUnknown     Reason = "OUTCOME_UNKNOWN" // it may or may not have happened: read, or repeat with the same request id
	WaitTimeout        Reason = "WAIT_TIMEOUT"    // from Wait: the task goes on
	TaskFailed         Reason = "TASK_FAILED"     // from Result: the task ended without one
	Internal           Reason = "INTERNAL"
)

// Error implements error.
func (r Reason) Error() string { return string(r) }

// What a status means when it carries no reason of ours: it came from a proxy or from gRPC itself.
// Canceled by the other side is a server that went away.
var reasonByCode = map[codes.Code]Reason{
	codes.InvalidArgument:    InvalidRequest,
	codes.OutOfRange:         InvalidRequest,
	codes.NotFound:           TaskNotFound,
	codes.AlreadyExists:      AlreadyExists,
	codes.Unauthenticated:    Unauthenticated,
	codes.PermissionDenied:   PermissionDenied,
	codes.FailedPrecondition: FailedPrecondition,
	codes.Aborted:            Aborted,
	codes.Unavailable:        Unavailable,
	codes.Canceled:           Unavailable,
	codes.ResourceExhausted:  ResourceExhausted,
	codes.DeadlineExceeded:   OutcomeUnknown,
}

// Violation is one thing that is wrong with a request: where, and what would be accepted.
type Violation struct {
	Field       string
	Description string
}

// Error is how every call fails.
type Error struct {
	Code       codes.Code
	Reason     Reason            // for programs
	Message    string            // for people; may change
	Violations []Violation       // the fields that are wrong, if the request was
	Metadata   map[string]string // facts for programs
	RetryAfter time.Duration     // how long the service asks to wait, if it does
	cause      error
}

// Error says the reason and the sentence.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }

// Unwrap is what ended the call on this side: the context's error or gRPC's.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is(err, timeball.TooLate) true for every error of that reason.
func (e *Error) Is(target error) bool {
	reason, ok := target.(Reason)
	return ok && reason == e.Reason
}

// Retryable says whether the same call may succeed later.
func (e *Error) Retryable() bool {
	switch e.Code {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return true
	case codes.Aborted:
		return e.Reason != StaleEtag
	case codes.ResourceExhausted:
		// Without advice on when to come back it may be a message over a limit, which stays over it.
		return e.RetryAfter > 0
	default:
		return false
	}
}

// errorOf reads a failed call's status with its google.rpc details.
func errorOf(err error) *Error {
	from := status.Convert(err)
	made := &Error{
		Code:    from.Code(),
		Reason:  firstOf(reasonByCode[from.Code()], Internal),
		Message: firstOf(from.Message(), from.Code().String()),
		cause:   err,
	}
	for _, detail := range from.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == domain {
				made.Reason, made.Metadata = Reason(detail.Reason), detail.Metadata
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				made.Violations = append(made.Violations, Violation{violation.Field, violation.Description})
			}
		case *errdetails.RetryInfo:
			made.RetryAfter = detail.RetryDelay.AsDuration()
		}
	}
	return made
}

// cutShort is the error of a call that its own context ended: nobody knows what became of it.
func cutShort(ended, last error) *Error {
	return &Error{
		Code:    status.FromContextError(ended).Code(),
		Reason:  OutcomeUnknown,
		Message: "no answer in time; it may or may not have happened",
		cause:   errors.Join(ended, last),
	}
}
