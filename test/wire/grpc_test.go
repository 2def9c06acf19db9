package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/warder-gateway/warder/test/harness"
)

// interopServer is gRPC's own interoperability server behind a gateway, over
// TLS or by prior knowledge.
func interopServer(t *testing.T, secure bool) (*harness.Wire, *grpc.ClientConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme, more := "http", ""
	if secure {
		scheme, more = "https", ", tls: { caFile: cert.pem }"
	}
	g := harness.StartWire(t, fmt.Sprintf(`
upstreams: { rpc: { targets: ["%s://%s"], protocol: grpc%s } }
routes:
  - { path: /grpc.testing.TestService/**, methods: [POST], upstream: rpc, auth: none }
  - { path: /grpc.testing.UnimplementedService/**, methods: [POST], upstream: rpc, auth: none }
  - { path: /closed.Service/**, upstream: rpc, auth: { apiKey: true } }
  - { path: /small.Service/**, upstream: rpc, auth: none, body: { maxSize: 1KiB } }
`, scheme, l.Addr(), more))
	var options []grpc.ServerOption
	if secure {
		dir := filepath.Dir(g.Config)
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	}
	options = append(options, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(stream); strings.HasPrefix(method, "/small.") {
			<-stream.Context().Done() // it would answer before the request is found too large
		}
		return status.Error(codes.Unimplemented, "unknown service")
	}))
	server := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	go server.Serve(l)
	t.Cleanup(server.Stop)
	client, err := grpc.NewClient(g.TLS, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: g.Roots})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return g, client
}

// TestGRPCInterop has gRPC's own interoperability client judge the way
// through the gateway. A case that fails ends the test process, with its
// reason.
func TestGRPCInterop(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "h2c", true: "h2"}[secure], func(t *testing.T) {
			t.Parallel()
			_, conn := interopServer(t, secure)
			client := testgrpc.NewTestServiceClient(conn)
			ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
			defer cancel()
			for name, run := range map[string]func(){
				"empty_unary":                 func() { interop.DoEmptyUnaryCall(ctx, client) },
				"large_unary":                 func() { interop.DoLargeUnaryCall(ctx, client) },
				"client_streaming":            func() { interop.DoClientStreaming(ctx, client) },
				"server_streaming":            func() { interop.DoServerStreaming(ctx, client) },
				"ping_pong":                   func() { interop.DoPingPong(ctx, client) },
				"empty_stream":                func() { interop.DoEmptyStream(ctx, client) },
				"timeout_on_sleeping_server":  func() { interop.DoTimeoutOnSleepingServer(ctx, client) },
				"cancel_after_begin":          func() { interop.DoCancelAfterBegin(ctx, client) },
				"cancel_after_first_response": func() { interop.DoCancelAfterFirstResponse(ctx, client) },
				"custom_metadata":             func() { interop.DoCustomMetadata(ctx, client) },
				"status_code_and_message":     func() { interop.DoStatusCodeAndMessage(ctx, client) },
				"special_status_message":      func() { interop.DoSpecialStatusMessage(ctx, client) },
				"unimplemented_method":        func() { interop.DoUnimplementedMethod(ctx, conn) },
				"unimplemented_service":       func() { interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn)) },
			} {
				t.Run(name, func(*testing.T) { run() })
			}
		})
	}
}

// What is refused is refused in words that callers of gRPC understand, and
// tells them no more than anybody else.
func TestGRPCRefusals(t *testing.T) {
	t.Parallel()
	g, conn := interopServer(t, false)
	for _, c := range []struct {
		method  string
		size    int
		fields  []string
		want    codes.Code
		message string
	}{
		{"/nobody.Service/Call", 0, nil, codes.Unimplemented, "route_unknown"},
		{"/closed.Service/Call", 0, nil, codes.Unauthenticated, "credential_missing"},
		{"/closed.Service/Call", 0, []string{"x-api-key", "wk_none"}, codes.Unauthenticated, "key_invalid"},
		{"/small.Service/Call", 2000, nil, codes.ResourceExhausted, "body_too_large"},
		{"/a/../b", 0, nil, codes.InvalidArgument, "path_not_normal"},
	} {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), c.fields...), harness.Patience)
		var head metadata.MD
		payload := &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, c.size)}}
		err := conn.Invoke(ctx, c.method, payload, &testgrpc.SimpleResponse{}, grpc.Header(&head))
		cancel()
		s := status.Convert(err)
		if s.Code() != c.want || !strings.HasPrefix(s.Message(), c.message+": ") || !strings.Contains(s.Message(), "(request ") {
			t.Errorf("%s: %v", c.method, err)
		}
	}
	harness.Eventually(t, "the record has the inner code, and the status that was sent", func() bool {
		return slices.ContainsFunc(g.Records(t), func(r harness.Record) bool { return r.Code == "key_malformed" && r.Status == 200 })
	})
}
