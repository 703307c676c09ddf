package timeball

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"timeball.example/timeball/timeballv1"
)

const contentType = "application/json"

// NewTask is a task for this handler, to run now. Arguments are a map or a struct with one member
// per named argument, and nil for none. Set Delay or RunTime for later.
func NewTask(handler string, arguments any) (*timeballv1.Task, error) {
	if arguments == nil {
		arguments = struct{}{}
	}
	data, err := json.Marshal(arguments)
	if err != nil {
		return nil, invalid("arguments", err.Error())
	}
	payload := &timeballv1.Payload{ContentType: contentType, Data: data}
	return &timeballv1.Task{Handler: handler, Payload: payload}, nil
}

// Result reads what the handler of a task that has ended returned into value, a pointer.
//
// It fails with [TaskFailed] when the task ended without a result; the metadata of the error have
// state, cause and last failure.
func Result(task *timeballv1.Task, value any) error {
	if task.GetState() != timeballv1.TaskState_TASK_STATE_SUCCEEDED {
		return taskFailed(task)
	}
	data := task.GetResult().GetData()
	if len(data) == 0 {
		data = []byte("null")
	}
	if err := json.Unmarshal(data, value); err != nil {
		return &Error{
			Code:    codes.FailedPrecondition,
			Reason:  FailedPrecondition,
			Message: fmt.Sprintf("the result of %s does not fit: %v", task.GetName(), err),
			cause:   err,
		}
	}
	return nil
}

func taskFailed(task *timeballv1.Task) *Error {
	state := strings.TrimPrefix(task.GetState().String(), "TASK_STATE_")
	facts := map[string]string{
		"task": task.GetName(), "state": state, "attempts": strconv.Itoa(int(task.GetAttempt())),
	}
	words := task.GetName() + " ended as " + state
	if cause := task.GetCause(); cause != timeballv1.FailureCause_FAILURE_CAUSE_UNSPECIFIED {
		facts["cause"] = strings.TrimPrefix(cause.String(), "FAILURE_CAUSE_")
		words += " (" + facts["cause"] + ")"
	}
	if failure := task.GetFailure(); failure != nil {
		facts["failure_kind"], facts["failure_message"] = failure.Kind, failure.Message
		words += ": " + failure.Kind + ": " + failure.Message
	}
	return &Error{Code: codes.FailedPrecondition, Reason: TaskFailed, Message: words, Metadata: facts}
}
