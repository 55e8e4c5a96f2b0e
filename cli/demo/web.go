package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// authority is a certificate for everything on 127.0.0.1 that signs itself and lives for a day.
type authority struct {
	server tls.Certificate
	roots  *x509.CertPool
}

func (d *demo) certificates() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "kube-iam-assume demo"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, content := range map[string][]byte{"ca.pem": certificate, "tls.pem": certificate, "tls-key.pem": secret} {
		if err := d.write(name, string(content)); err != nil {
			return err
		}
	}
	d.tls.roots = x509.NewCertPool()
	d.tls.roots.AppendCertsFromPEM(certificate)
	d.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.tls.roots, MinVersion: tls.VersionTLS12}}}
	d.tls.server, err = tls.X509KeyPair(certificate, secret)
	return err
}

// url is where the demo's publisher serves what belongs below the issuer URL.
func (d *demo) url(below string) string {
	if _, path, found := strings.Cut(strings.TrimPrefix(d.issuer, "https://"), "/"); found {
		below = "/" + path + below
	}
	return d.publisher + below
}

func (d *demo) jwksURL() string { return d.url("/openid/v1/jwks") }

func (d *demo) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	return d.do(request, http.StatusOK)
}

func (d *demo) do(request *http.Request, want int) ([]byte, error) {
	response, err := d.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if want != 0 && response.StatusCode != want {
		return nil, fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, jwks.MaxBytes))
}

// post sends a snapshot and returns the code, or the status of the receipt.
func (d *demo) post(ctx context.Context, envelope []byte) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.publisher+"/v1/snapshots", bytes.NewReader(envelope))
	if err != nil {
		return "", err
	}
	body, err := d.do(request, 0)
	if err != nil {
		return "", err
	}
	var answer struct{ Code, Status any }
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	if answer.Code != nil {
		return fmt.Sprint(answer.Code), nil
	}
	return fmt.Sprint(answer.Status), nil
}

// verify is a cloud: it knows the issuer, and asks each time. Where the issuer URL does not lead to the demo's publisher, it is told
// where the keys are.
func (d *demo) verify(ctx context.Context, token string) error {
	ctx = oidc.ClientContext(ctx, d.client)
	config := &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.ES384}}
	verifier := oidc.NewVerifier(d.issuer, oidc.NewRemoteKeySet(ctx, d.jwksURL()), config)
	if d.ownIssuer {
		provider, err := oidc.NewProvider(ctx, d.issuer)
		if err != nil {
			return err
		}
		verifier = provider.Verifier(config)
	}
	if _, err := verifier.Verify(ctx, token); err != nil {
		return fmt.Errorf("a token was not accepted: %w", err)
	}
	return nil
}

func (d *demo) waitForKey(ctx context.Context, id string) error {
	return d.wait(ctx, d.processes[len(d.processes)-1], "the new key to be published", func() bool {
		body, err := d.get(ctx, d.jwksURL())
		if err != nil {
			return false
		}
		set, err := jwks.Parse(body)
		_, ok := set.ByID(id)
		return err == nil && ok
	})
}

// recorder stands between exporter and publisher, as an attacker on the network might, and keeps the first snapshot.
type recorder struct {
	url      string
	close    func()
	forward  string
	upstream *http.Client

	mu    sync.Mutex
	taken []byte
}

func newRecorder(ctx context.Context, forward string, certificate tls.Certificate, upstream *http.Client) (*recorder, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{url: "https://" + listener.Addr().String() + "/v1/snapshots", forward: forward, upstream: upstream}
	server := &http.Server{
		Handler: r, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	r.close = func() { _ = server.Close() }
	return r, nil
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, snapshot.MaxBytes+1))
	if err != nil {
		return
	}
	onward, err := http.NewRequestWithContext(request.Context(), http.MethodPost, r.forward, bytes.NewReader(body))
	if err != nil {
		return
	}
	response, err := r.upstream.Do(onward)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		r.keep(body)
	}
	w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
	w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
}

func (r *recorder) keep(accepted []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == nil {
		r.taken = accepted
	}
}

// first is the first snapshot that was accepted.
func (r *recorder) first() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

// forge makes a snapshot that says everything a real one says, with a key of the attacker's.
func forge(real []byte, issuer, serviceAccount string) ([]byte, error) {
	opened, err := snapshot.Open(real)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rogue, err := jwks.New(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	signer, err := snapshot.NewSigner()
	if err != nil {
		return nil, err
	}
	s, now := opened.Snapshot, time.Now()
	s.Seq, s.IssuedAt, s.Expires = now.UnixMilli(), now, now.Add(snapshot.Lifetime)
	s.Keys = append(s.Keys, rogue)
	tokenSigner, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: rogue.ID()}}, nil)
	if err != nil {
		return nil, err
	}
	token, err := jwt.Signed(tokenSigner).Claims(map[string]any{
		"iss": issuer, "sub": snapshot.Subject(serviceAccount), "aud": []string{snapshot.AttestationAudience(signer.Key())},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}).Serialize()
	if err != nil {
		return nil, err
	}
	s.Attestations = []string{token}
	return signer.Sign(s)
}
