package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	callTimeout = 30 * time.Second
	maxAnswer   = 1 << 20
)

var (
	// ErrToken means that there is no token to call Vault with.
	ErrToken = errors.New("VAULT_TOKEN is not set: log in (vault login, bao login) and export the token")
	// ErrAddress means that Vault's address is missing, or one that a token must not be sent to.
	ErrAddress = errors.New("Vault's address") //nolint:staticcheck // a name

	errAbsent = errors.New("not there")
	errDenied = errors.New("permission denied: the token's policies must allow it (docs/vault.md lists the paths)")
)

// client speaks Vault's HTTP API, which OpenBao has, too.
type client struct {
	address   *url.URL
	token     string // never printed, and sent to this address only
	namespace string
	http      *http.Client
}

// connect takes the token and the authority from the variables that Vault's own programs read.
func connect(address, namespace string) (*client, error) {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return nil, fmt.Errorf("%w is missing: want --address or VAULT_ADDR", ErrAddress)
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%w: want https://HOST:PORT", ErrAddress)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, fmt.Errorf("%w %s: a token is sent over https only, or to this machine", ErrAddress, address)
	}
	c := &client{address: u, token: os.Getenv("VAULT_TOKEN"), namespace: namespace}
	if c.token == "" {
		return nil, ErrToken
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := os.Getenv("VAULT_CACERT"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("VAULT_CACERT: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("VAULT_CACERT: %s holds no certificate", file)
		}
	}
	c.http = &http.Client{
		Timeout:       callTimeout,
		Transport:     &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it would take the token elsewhere
	}
	return c, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// call makes one request below /v1/. The error is errAbsent where Vault has nothing.
func (c *client) call(ctx context.Context, method, path string, body, into any) error {
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	target, err := url.Parse(strings.TrimSuffix(c.address.String(), "/") + "/v1/" + path)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return err
	}
	request.Header.Set("X-Vault-Token", c.token)
	request.Header.Set("X-Vault-Request", "true")
	if c.namespace != "" {
		request.Header.Set("X-Vault-Namespace", c.namespace)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("more than %d bytes", maxAnswer)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if err := refusal(response, answer); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: the answer is not Vault's: %w", method, path, err)
	}
	return nil
}

// refusal is what an answer says that is no success.
func refusal(response *http.Response, answer []byte) error {
	switch code := response.StatusCode; {
	case code == http.StatusOK || code == http.StatusNoContent:
		return nil
	case code == http.StatusNotFound:
		return errAbsent
	case code/100 == 3:
		return fmt.Errorf("%w: it leads on to another node (%s): use the active one's", ErrAddress, response.Status)
	case code == http.StatusForbidden:
		return errDenied
	}
	var said struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(answer, &said) != nil || len(said.Errors) == 0 {
		return errors.New(response.Status)
	}
	return fmt.Errorf("%s: %s", response.Status, strings.Join(said.Errors, "; "))
}
