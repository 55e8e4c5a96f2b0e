package doors

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
)

// The fields by which Cloud Logging joins a line with its request.
const (
	traceField = "logging.googleapis.com/trace"
	spanField  = "logging.googleapis.com/spanId"
)

const metadataTimeout = 2 * time.Second // it takes some milliseconds

// newLogger writes one JSON object per line, as Cloud Logging reads them from a service's output: severity, message and time, and the
// trace of the request. The other members are ours; "event" is what metrics and alerts are made from.
func newLogger(to io.Writer, project string) *slog.Logger {
	return slog.New(tracing{Handler: slog.NewJSONHandler(to, &slog.HandlerOptions{ReplaceAttr: asGoogle}), project: project})
}

func asGoogle(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String("severity", severity(level))
		}
	}
	return a
}

func severity(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARNING"
	case level >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

// tracing adds the request's trace to each line.
type tracing struct {
	slog.Handler
	project string
}

func (h tracing) Handle(ctx context.Context, record slog.Record) error {
	if t, ok := ctx.Value(traceKey{}).(trace); ok && h.project != "" {
		record = record.Clone()
		record.AddAttrs(slog.String(traceField, "projects/"+h.project+"/traces/"+t.id))
		if t.span != "" {
			record.AddAttrs(slog.String(spanField, t.span))
		}
	}
	return h.Handler.Handle(ctx, record)
}

func (h tracing) WithAttrs(attributes []slog.Attr) slog.Handler {
	return tracing{h.Handler.WithAttrs(attributes), h.project}
}

func (h tracing) WithGroup(name string) slog.Handler {
	return tracing{h.Handler.WithGroup(name), h.project}
}

type traceKey struct{}

// trace is what a line of the log says of its request's: 32 and 16 hexadecimal digits. A caller may have chosen them.
type trace struct{ id, span string }

func traceOf(header http.Header) (trace, bool) {
	if t, ok := w3cTrace(header.Get("Traceparent")); ok {
		return t, true
	}
	return googleTrace(header.Get("X-Cloud-Trace-Context"))
}

var (
	traceparent  = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)
	cloudContext = regexp.MustCompile(`^([0-9a-fA-F]{32})(?:/([0-9]{1,20}))?(?:;o=[0-9]{1,2})?$`)
)

const (
	noTrace = "00000000000000000000000000000000"
	noSpan  = "0000000000000000"
)

// w3cTrace reads the header of W3C Trace Context, section 3.2: version 00 has four fields, later ones may have more.
func w3cTrace(value string) (trace, bool) {
	found := traceparent.FindStringSubmatch(value)
	if found == nil || found[1] == "ff" || found[1] == "00" && found[4] != "" || found[2] == noTrace || found[3] == noSpan {
		return trace{}, false
	}
	return trace{found[2], found[3]}, true
}

// googleTrace reads X-Cloud-Trace-Context, whose span is a decimal number.
func googleTrace(value string) (trace, bool) {
	found := cloudContext.FindStringSubmatch(value)
	if found == nil || found[1] == noTrace {
		return trace{}, false
	}
	t := trace{id: strings.ToLower(found[1])}
	if span, err := strconv.ParseUint(found[2], 10, 64); err == nil && span != 0 {
		t.span = hex.EncodeToString(binary.BigEndian.AppendUint64(nil, span))
	}
	return t, true
}

// projectOf names the project that a trace belongs to. Off Google Cloud, where there is no metadata server, there is none.
func projectOf(ctx context.Context, getenv func(string) string) string {
	if project := getenv("GOOGLE_CLOUD_PROJECT"); project != "" || getenv("K_SERVICE") == "" {
		return project
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	project, err := metadata.ProjectIDWithContext(ctx)
	if err != nil {
		return "" // lines without a trace are still lines
	}
	return project
}
