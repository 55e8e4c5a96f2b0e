package aws

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// An authority issues the servers' certificates.
type authority struct {
	certificate []byte // PEM
	parsed      *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "stand-in for a public authority"},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, key, err := sign(template, template, nil)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	return &authority{certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), parsed: parsed, key: key}, nil
}

// issue makes a server's certificate, followed by the authority's: IAM remembers the last of the chain.
func (a *authority) issue(names []string) (certificate, key []byte, err error) {
	der, private, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.parsed, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for %s: %w", names[0], err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate for %s: %w", names[0], err)
	}
	certificate = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.certificate...)
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}

// pair makes a certificate for a server in this process.
func (a *authority) pair(names []string) (tls.Certificate, error) {
	certificate, key, err := a.issue(names)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

// flags write a certificate and its key for a gateway.
func (a *authority) flags(folder string, names []string) ([]string, error) {
	certificate, key, err := a.issue(names)
	if err != nil {
		return nil, err
	}
	certificateFile, keyFile := filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key")
	for path, content := range map[string][]byte{certificateFile: certificate, keyFile: key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, fmt.Errorf("write the certificate of %s: %w", names[0], err)
		}
	}
	return []string{"--cert=" + certificateFile, "--key=" + keyFile}, nil
}

// sign makes a key and its certificate; without an issuer's key it signs itself.
func sign(template, issuer *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if by == nil {
		by = key
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, by)
	return der, key, err
}
