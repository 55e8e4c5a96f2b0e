package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A credential is a certificate with its key, as PEM.
type credential struct {
	certificate, key []byte
}

// writeCertificates makes the cluster's authority, which signs one certificate for all API servers and the administrator's,
// and writes what the servers read.
func (c *Cluster) writeCertificates() error {
	authority, err := newAuthority()
	if err != nil {
		return err
	}
	c.CA, c.CAFile = encodeCertificate(authority.certificate.Raw), filepath.Join(c.folder, "ca.crt")
	server, err := authority.issue(serverCertificate())
	if err != nil {
		return err
	}
	if c.admin, err = authority.issue(adminCertificate()); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"ca.crt": c.CA, "apiserver.crt": server.certificate, "apiserver.key": server.key,
	} {
		if err := os.WriteFile(filepath.Join(c.folder, name), content, 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}

// serverCertificate is for every name and address an API server is reached by.
func serverCertificate() *x509.Certificate {
	addresses := []net.IP{net.ParseIP(serviceIP)}
	for number := 1; number <= maxServers; number++ {
		s := Server{number: number}
		addresses = append(addresses, net.ParseIP(s.host()), net.ParseIP(s.Address()))
	}
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: addresses,
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		},
	}
}

func adminCertificate() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the authority's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "test cluster authority"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	certificate, err := sign(template, template, key, key)
	return &authority{certificate: certificate, key: key}, err
}

// issue makes a key and signs a certificate for it.
func (a *authority) issue(template *x509.Certificate) (credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return credential{}, fmt.Errorf("generate the key of %s: %w", template.Subject, err)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	certificate, err := sign(template, a.certificate, key, a.key)
	if err != nil {
		return credential{}, err
	}
	encoded, err := privatePEM(key)
	return credential{certificate: encodeCertificate(certificate.Raw), key: encoded}, err
}

func sign(template, parent *x509.Certificate, subject, issuer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, subject.Public(), issuer)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject, err)
	}
	return x509.ParseCertificate(der)
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
