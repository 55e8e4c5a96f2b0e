// Command azure is a publisher as an Azure function app: a custom handler that takes snapshots from a webhook or a storage queue, and keeps
// the documents in Blob Storage.
//
// The package that is deployed holds this program as "handler", the folder app (host.json, and a folder per function, which has its name),
// and publisher.yaml with the clusters' files. The functions:
//
//   - snapshots, healthz: publish.Handler, at POST /v1/snapshots and GET /healthz. The only door for strangers.
//   - queue: a message of a storage queue is a snapshot, as text or in base64.
//   - reconcile, every five minutes.
//   - operate: an operator's order at POST /v1/operate, {"statement": {...}} or {"statement": {...}, "dryRun": true}, with an access token
//     of Microsoft Entra. The platform lets everybody through to it; this program checks the token (operator.go).
//
// # How the host calls
//
// The Functions host starts this program and posts JSON to it at /NAME. Requests of the web come the same way and are not forwarded as they
// are: so it is the host alone who says which function is meant, and no path, header or body of a stranger can become a message of the
// queue or an operator's order. The answer is JSON, too, and never empty: an empty one would leave the host waiting. Any other status than
// 200 is a failed invocation; it is answered only for what may succeed later, because the host then brings a message back.
//
// # Settings
//
// DOCUMENTS_BUCKET and PRIVATE_BUCKET are the URLs of two containers, https://ACCOUNT.blob.core.windows.net/CONTAINER, and AZURE_CLIENT_ID is
// the user-assigned identity that may read and write their blobs (package shared/bucket/azblob has the rights it needs). The path of an
// issuer's documents is below the container: for the issuer https://ACCOUNT.blob.core.windows.net/documents/prod in the container
// documents, publisher.yaml says path: prod. OPERATOR_TENANT_ID, OPERATOR_AUDIENCE and OPERATORS (object IDs, separated by commas) open
// the operator's door; without them it is shut. The queue is SNAPSHOTS_QUEUE in the account of SNAPSHOTS_STORAGE__queueServiceUri (with
// SNAPSHOTS_STORAGE__credential and SNAPSHOTS_STORAGE__clientId), which the host reads. FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, also the host's,
// should be 131072: its own limit is 100 MB.
//
// # Log
//
// One JSON object per line and event on standard output, with the host's invocation ID as "invocation". The host writes each such line,
// unchanged, as a trace of the category Host.Function.Console, so that an alert finds it by parse_json(message).event in the table
// traces (AppTraces: parse_json(Message)). The host takes every line of standard output for information; the level that counts is in the
// line. Sampling is off in host.json: an event that is sampled away raises no alarm. The host could also be given lines with the answer, under
// the function's own name; those would be lost with an invocation that never answers, which is when they are needed.
package main

import (
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

func main() {
	logger := slog.New(invocationLines{slog.NewJSONHandler(os.Stdout, nil)})
	slog.SetDefault(logger)
	a := &app{logger: logger}
	var setup setup
	if setup, a.unusable = open(os.Getenv, logger); a.unusable != nil {
		logger.Error("the function can't work", "event", "settings.invalid", "detail", a.unusable.Error())
	} else {
		a.publisher, a.operators, a.door = setup.publisher, setup.operators, publish.NewHandler(setup.publisher)
	}
	if err := serve(a, os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")); err != nil {
		logger.Error("the function can't be called", "event", "settings.invalid", "detail", err.Error())
	}
	os.Exit(1) // with 0 the host would not start it again
}

// serve answers the host, which alone reaches this address, until it ends the process.
func serve(a *app, port string) error {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errPort
	}
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", port),
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.logger.With("event", "server.message").Handler(), slog.LevelWarn),
	}
	return server.ListenAndServe()
}
