// Package timeball is a small client of Timeball: it creates, reads, awaits, lists, changes and cancels tasks.
//
// Messages are those of package timeballv1, which is generated from proto/ alone. Calls that may
// succeed later are repeated until their deadline, with one request id and marked as repetitions, so
// that repeating never does a thing twice. Every error that the service or the wire causes is an
// [*Error]; compare its reason with errors.Is(err, timeball.TooLate).
package timeball

import (
	"context"
	"iter"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"timeball.example/timeball/timeballv1"
)

// Where to ask, and for how long, when nobody says.
const (
	DefaultAddress  = "127.0.0.1:7466"
	DefaultDeadline = 15 * time.Second
)

// Config says where the service is and who asks. What is left empty comes from the environment
// (TIMEBALL_ADDRESS, with commas between several, TIMEBALL_API_KEY, TIMEBALL_NAMESPACE), else from
// the defaults.
type Config struct {
	Addresses []string // host:port of every coordinator; calls take turns among those that are reachable
	APIKey    string
	Namespace string                           // the credential's own by default
	Deadline  time.Duration                    // of a call and its repetitions when its context has none
	TLS       credentials.TransportCredentials // none is an unencrypted connection
}

// Client talks to the service. It is safe for use by many goroutines at once.
type Client struct {
	connection *grpc.ClientConn
	tasks      timeballv1.TaskServiceClient
	parent     string
	apiKey     string
	deadline   time.Duration
}

// Dial makes a client for these addresses, or for TIMEBALL_ADDRESS. It connects when first asked.
func Dial(addresses ...string) (*Client, error) {
	return Config{Addresses: addresses}.Dial()
}

// Dial makes a client. The error is an [InvalidRequest] for an address that cannot be meant.
func (config Config) Dial() (*Client, error) {
	if len(config.Addresses) == 0 {
		config.Addresses = strings.Split(firstOf(os.Getenv("TIMEBALL_ADDRESS"), DefaultAddress), ",")
	}
	connection, err := connect(config.Addresses, config.TLS)
	if err != nil {
		return nil, err
	}
	return &Client{
		connection: connection,
		tasks:      timeballv1.NewTaskServiceClient(connection),
		parent:     "namespaces/" + firstOf(config.Namespace, os.Getenv("TIMEBALL_NAMESPACE"), "-"),
		apiKey:     firstOf(config.APIKey, os.Getenv("TIMEBALL_API_KEY")),
		deadline:   firstOf(config.Deadline, DefaultDeadline),
	}, nil
}

// Close closes the connections. Calls under way fail; what they asked for may happen nevertheless.
func (c *Client) Close() error {
	return c.connection.Close()
}

// Option changes one creation, change or cancellation.
type Option func(*change)

type change struct {
	requestID string
	etag      string
	terminate bool
}

// WithRequestID makes a call the same wish as every other one with this UUID: it has the same
// answer, and nothing happens twice. Without it each call is a wish of its own.
//
// Only you know whether you asked before, so the service looks, which costs it a read.
func WithRequestID(id string) Option {
	return func(made *change) { made.requestID = id }
}

// WithEtag makes a change hold only if the task still is as it was when this etag was read; else it
// fails with [StaleEtag], and nothing was changed. Update takes the etag of its task instead.
func WithEtag(etag string) Option {
	return func(made *change) { made.etag = etag }
}

// WithTermination makes a cancellation end a running attempt too: nothing it says counts any more.
func WithTermination() Option {
	return func(made *change) { made.terminate = true }
}

// saying is what the options say.
func saying(options []Option) change {
	var made change
	for _, option := range options {
		option(&made)
	}
	return made
}

// wish is the request id of a call, and whether it may have been used before.
func wish(options []Option) (id string, resend bool) {
	if made := saying(options); made.requestID != "" {
		return made.requestID, true
	}
	return NewRequestID(time.Now()), false
}

// Create promises to run a task at its instant. It returns when the promise is durable.
func (c *Client) Create(ctx context.Context, task *timeballv1.Task, options ...Option) (*timeballv1.Task, error) {
	id, resend := wish(options)
	request := &timeballv1.CreateTaskRequest{Parent: c.parent, Task: task, RequestId: id, Resend: resend}
	answer, err := call(ctx, c, c.tasks.CreateTask, request)
	return answer.GetTask(), err
}

// Get reads a task, given by its name or its id, in full.
func (c *Client) Get(ctx context.Context, task string) (*timeballv1.Task, error) {
	answer, err := call(ctx, c, c.tasks.GetTask, &timeballv1.GetTaskRequest{Name: c.name(task)})
	return answer.GetTask(), err
}

// Cancel stops attempts that have not started; reason is for the journal and may be empty.
//
// It fails with [TooLate] when an attempt has started or the task has ended; nothing was changed
// then. Unaccounted of the task it returns names attempts that may start nevertheless, because
// their executors vanished.
func (c *Client) Cancel(ctx context.Context, task, reason string, options ...Option) (*timeballv1.Task, error) {
	id, resend := wish(options)
	request := &timeballv1.CancelTaskRequest{
		Name: c.name(task), Reason: reason, Terminate: saying(options).terminate, RequestId: id, Resend: resend,
	}
	answer, err := call(ctx, c, c.tasks.CancelTask, request)
	return answer.GetTask(), err
}

// List goes through the tasks of one owner, newest first, asking for the next page when it is
// needed. Its request says which: all of the caller's own when it is empty. An error ends it.
func (c *Client) List(ctx context.Context, request *timeballv1.ListTasksRequest) iter.Seq2[*timeballv1.Task, error] {
	return func(yield func(*timeballv1.Task, error) bool) {
		next := &timeballv1.ListTasksRequest{}
		proto.Merge(next, request)
		next.Parent = firstOf(next.Parent, c.parent)
		for {
			page, err := call(ctx, c, c.tasks.ListTasks, next)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, task := range page.Tasks {
				if !yield(task, nil) {
					return
				}
			}
			if next.PageToken = page.NextPageToken; next.PageToken == "" {
				return
			}
		}
	}
}

// name is the resource name of a task given by name or by id.
func (c *Client) name(task string) string {
	if strings.Contains(task, "/") {
		return task
	}
	return c.parent + "/tasks/" + task
}

// firstOf is the first value that is not the zero one.
func firstOf[T comparable](values ...T) (zero T) {
	for _, value := range values {
		if value != zero {
			return value
		}
	}
	return zero
}
