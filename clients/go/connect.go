package timeball

import (
	"context"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

const (
	reconnectFirst  = 100 * time.Millisecond
	reconnectMax    = 2 * time.Second
	connectMax      = 5 * time.Second
	messageBytesMax = 16 << 20
	// Of several addresses every call takes the next one that is reachable.
	serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}]}`
)

// connect opens one channel over all addresses. It dials when it is first used.
func connect(addresses []string, tls credentials.TransportCredentials) (*grpc.ClientConn, error) {
	if tls == nil {
		tls = insecure.NewCredentials()
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(tls),
		grpc.WithUserAgent("timeball-go"),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(),
		// The client repeats calls itself, with its own word for it in the request.
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: reconnectFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMax,
			},
			MinConnectTimeout: connectMax,
		}),
	}
	target := strings.TrimSpace(addresses[0])
	if len(addresses) > 1 {
		several, err := resolverOf(addresses)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.WithResolvers(several))
		target = several.Scheme() + ":///"
	} else if err := checkAddress(target); err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, invalid("address", err.Error())
	}
	return connection, nil
}

// resolverOf is a resolver that knows these addresses and no others.
func resolverOf(addresses []string) (resolver.Builder, error) {
	var state resolver.State
	for _, address := range addresses {
		address = strings.TrimSpace(address)
		if err := checkAddress(address); err != nil {
			return nil, err
		}
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	builder := manual.NewBuilderWithScheme("timeball")
	builder.InitialState(state)
	return builder, nil
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.Contains(address, "://") {
		return invalid("address", address+": write host:port, without http:// or the like")
	}
	return nil
}

func invalid(field, description string) *Error {
	return &Error{
		Code:       codes.InvalidArgument,
		Reason:     InvalidRequest,
		Message:    field + ": " + description,
		Violations: []Violation{{Field: field, Description: description}},
	}
}

// asCaller adds the credential to what a call sends.
func (c *Client) asCaller(ctx context.Context) context.Context {
	if c.apiKey == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.apiKey)
}
