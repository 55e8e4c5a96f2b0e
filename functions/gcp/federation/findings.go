package federation

import (
	"context"
	"log/slog"
	"sync"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// findings are what a person should know and a retry would not change. Each is said once for each cause, and again after it was gone.
type findings struct {
	logger *slog.Logger

	mu   sync.Mutex
	said map[string]string // event → its cause
}

func (f *findings) leftOut(ctx context.Context, usable, others jwks.Set) {
	cause, level, detail := "", slog.LevelWarn, "tokens signed by these keys are not accepted by Google"
	for _, key := range others {
		cause += key.ID() + " " + key.Algorithm() + "\n"
	}
	if len(usable) == 0 {
		level, detail = slog.LevelError, "no key is left that Google verifies with: it accepts no token of this issuer"
	}
	f.say(ctx, "target.incomplete", cause, level, "keyIDs", others.IDs(), "detail", detail,
		"remedy", "sign with an RSA or P-256 key: Google verifies RS256 and ES256 only")
}

func (f *findings) disabled(ctx context.Context, disabled bool) {
	cause := ""
	if disabled {
		cause = "disabled"
	}
	f.say(ctx, "target.disabled", cause, slog.LevelWarn, "detail", "its keys are kept, but Google exchanges no token by a disabled provider",
		"remedy", "enable it, or take workloadIdentityProvider out of the publisher's settings")
}

func (f *findings) say(ctx context.Context, event, cause string, level slog.Level, attributes ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.said[event] == cause {
		return
	}
	f.said[event] = cause
	if cause != "" {
		f.logger.Log(ctx, level, event, append([]any{"event", event}, attributes...)...)
	}
}
