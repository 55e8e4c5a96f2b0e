package publishers

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/idtoken"
	"google.golang.org/api/impersonate"
)

const commandLimit = 30 * time.Second

// openCloudRun asks for an ID token of Google's, whose audience is the service. A person's own login can't make one with an audience: he impersonates
// a service account, or gives the token that gcloud has for him, which Cloud Run takes as well.
func openCloudRun(ctx context.Context, c CloudRun) (door, error) {
	audience := c.Audience
	if audience == "" {
		u, err := url.Parse(c.URL)
		if err != nil {
			return nil, err
		}
		audience = "https://" + u.Host
	}
	w := web{client: newClient(), url: c.URL, right: "whoever is logged in needs roles/run.invoker on this service (the module's operators), and a token for the audience " + audience}
	if len(c.TokenCommand) > 0 {
		w.token = func(ctx context.Context) (string, error) { return run(ctx, c.TokenCommand) }
		return w, nil
	}
	source, err := googleTokens(ctx, audience, c.Impersonate)
	if err != nil {
		return nil, err
	}
	w.token = func(context.Context) (string, error) {
		token, err := source.Token()
		if err != nil {
			return "", googleLogin(err, c.Impersonate)
		}
		return token.AccessToken, nil // of this kind of source, the ID token
	}
	return w, nil
}

func googleTokens(ctx context.Context, audience, account string) (oauth2.TokenSource, error) {
	ctx = context.WithoutCancel(ctx) // the source outlives one attempt
	var source oauth2.TokenSource
	var err error
	if account != "" {
		source, err = impersonate.IDTokenSource(ctx, impersonate.IDTokenConfig{Audience: audience, TargetPrincipal: account, IncludeEmail: true})
	} else {
		source, err = idtoken.NewTokenSource(ctx, audience)
	}
	if err != nil {
		return nil, googleLogin(err, account)
	}
	return source, nil
}

func googleLogin(err error, account string) error {
	if account != "" {
		return fmt.Errorf("%w to Google Cloud as %s: %w: log in (gcloud auth application-default login) as somebody with roles/iam.serviceAccountOpenIdTokenCreator on it", ErrLogin, account, err)
	}
	return fmt.Errorf("%w to Google Cloud: %w: log in as a service account (GOOGLE_APPLICATION_CREDENTIALS). A person's own login has no token for a service: "+
		"set impersonate: to a service account that may invoke it, or tokenCommand: [gcloud, auth, print-identity-token]", ErrLogin, err)
}

// run runs a program that prints a token. It is no shell's line, and what it prints is shown to nobody.
func run(ctx context.Context, words []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	printed, complaint := &beginning{most: maxToken + 1}, &beginning{most: 500} // of more than a token, send says that it is none
	command := exec.CommandContext(ctx, words[0], words[1:]...)                 //nolint:gosec // G204: the person's own settings name it
	command.Stdout, command.Stderr = printed, complaint
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%w: %s: %w: %s", ErrLogin, words[0], err, strings.TrimSpace(complaint.kept.String()))
	}
	return strings.TrimSpace(printed.kept.String()), nil
}

// beginning keeps the first bytes, and drops the rest. The buffer is a field: embedded, its ReadFrom would take everything.
type beginning struct {
	kept bytes.Buffer
	most int
}

// Write implements io.Writer.
func (b *beginning) Write(data []byte) (int, error) {
	b.kept.Write(data[:min(len(data), b.most-b.kept.Len())])
	return len(data), nil
}
