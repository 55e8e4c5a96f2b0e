package rotation

import (
	"context"
	"io"

	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

// What follows is for command revoke, which looks at the same things in the same way.

// Fetch is what a stranger sees below an issuer's or a mirror's URL.
func Fetch(ctx context.Context, client stranger.Client, base string) URL {
	return (&sources{stranger: client}).fetch(ctx, base)
}

// LegacySecrets names the secrets whose tokens live for ever, and says why they are not all.
func LegacySecrets(ctx context.Context, config *rest.Config) (names []string, problem string) {
	return legacySecrets(ctx, config)
}

// PrintSecrets says so to people.
func PrintSecrets(out io.Writer, names []string, problem string) { printSecrets(out, names, problem) }
