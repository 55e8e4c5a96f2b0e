// Package trust writes the policies by which AWS, Google Cloud, Microsoft Entra and Vault let service accounts of a cluster in. It promises
// that each of them names the audience and the subject (or, where a whole namespace was asked for, the namespace), exactly, and that what a
// provider would refuse for its length is split or refused here, with the remedy. It asks nobody and changes nothing.
package trust

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	// ErrInput means that the call is wrong: no provider has anything to do with it.
	ErrInput = errors.New("invalid")
	// ErrTooLong means that a provider would refuse what was asked for, however it is split.
	ErrTooLong = errors.New("longer than the provider takes")
)

// A ServiceAccount is one of Kubernetes.
type ServiceAccount struct{ Namespace, Name string }

func (a ServiceAccount) String() string { return a.Namespace + "/" + a.Name }

// MarshalText is namespace/name.
func (a ServiceAccount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Subject is the claim "sub" of its tokens.
func (a ServiceAccount) Subject() string {
	return "system:serviceaccount:" + a.Namespace + ":" + a.Name
}

// A Cluster is what consumers know of one: its issuer, and the ID by which people tell it from others.
type Cluster struct {
	ID     string `json:"id"`
	Issuer string `json:"issuer"`
	Shared bool   `json:"shared,omitempty"` // other clusters' keys are published under the same issuer
}

// Host is the issuer as IAM names it: without the scheme.
func (c Cluster) Host() string { return strings.TrimPrefix(c.Issuer, "https://") }

// A Selection is who is to be let in: service accounts, or all of some namespaces, of clusters.
type Selection struct {
	Accounts   []ServiceAccount
	Namespaces []string
	Clusters   []Cluster
}

const (
	label = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	name  = `[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?`
)

var (
	namespacePattern = regexp.MustCompile(`^` + label + `$`)
	accountPattern   = regexp.MustCompile(`^` + label + `/` + name + `$`)
	segmentPattern   = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.~]*$`)
	hostPattern      = regexp.MustCompile(`^` + name + `(:[0-9]{1,5})?$`)
)

// ParseServiceAccount reads namespace/name. The error is ErrInput.
func ParseServiceAccount(text string) (ServiceAccount, error) {
	if strings.ContainsAny(text, "*?") {
		return ServiceAccount{}, fmt.Errorf("%w service account %q: a wildcard would hand the rights to whoever may name an account; "+
			"name each, or say --allow-namespace for all of one namespace", ErrInput, text)
	}
	if !accountPattern.MatchString(text) {
		return ServiceAccount{}, fmt.Errorf("%w service account %q: want namespace/name", ErrInput, text)
	}
	namespace, account, _ := strings.Cut(text, "/")
	return ServiceAccount{namespace, account}, nil
}

// ParseNamespace reads a namespace's name. The error is ErrInput.
func ParseNamespace(text string) (string, error) {
	if !namespacePattern.MatchString(text) {
		return "", fmt.Errorf("%w namespace %q: want the name of one, without wildcards", ErrInput, text)
	}
	return text, nil
}

// ParseCluster reads URL or ID=URL. Without an ID, it is the last part of the URL's path, or the host with hyphens. The error is ErrInput.
func ParseCluster(text string) (Cluster, error) {
	id, issuer, named := strings.Cut(text, "=")
	if !named {
		issuer = text
	}
	u, err := parseIssuer(issuer)
	if err != nil {
		return Cluster{}, fmt.Errorf("%w issuer %q: %w", ErrInput, issuer, err)
	}
	if !named {
		segments := strings.Split(u.Path, "/")
		if id = segments[len(segments)-1]; id == "" {
			id = u.Hostname()
		}
		id = strings.ToLower(strings.NewReplacer(".", "-", "_", "-", "~", "-").Replace(id))
	}
	if !namespacePattern.MatchString(id) {
		return Cluster{}, fmt.Errorf("%w cluster ID %q: want lower-case letters, digits and inner hyphens, at most 63; write it as ID=URL", ErrInput, id)
	}
	return Cluster{ID: id, Issuer: issuer}, nil
}

// parseIssuer holds the issuer to what every consumer compares byte for byte.
func parseIssuer(issuer string) (*url.URL, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return nil, errors.New("want https://HOST/PATH: no consumer accepts anything else")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#"):
		return nil, errors.New("a query or fragment is not allowed (OpenID Connect Discovery 1.0 section 3)")
	case strings.HasSuffix(issuer, "/"):
		return nil, errors.New("remove the trailing slash: consumers compare the issuer byte for byte")
	case u.String() != issuer: // package url reads HTTPS:// and %2e as what they mean, and consumers don't
		return nil, fmt.Errorf("write it as %s: consumers compare the issuer byte for byte", u)
	case !hostPattern.MatchString(u.Host):
		return nil, errors.New("want a host of lower-case letters, digits, dots and hyphens")
	}
	if u.Path == "" {
		return u, nil
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(u.Path, "/"), "/") {
		if !segmentPattern.MatchString(segment) {
			return nil, fmt.Errorf("path segment %q: want letters, digits and - _ . ~, beginning with a letter or digit", segment)
		}
	}
	return u, nil
}

// Empty reports whether nobody is let in.
func (s Selection) Empty() bool { return len(s.Accounts) == 0 && len(s.Namespaces) == 0 }

// Check refuses what names nobody, or something twice. The error is ErrInput.
func (s Selection) Check() error {
	if err := s.CheckClusters(); err != nil {
		return err
	}
	if s.Empty() {
		return fmt.Errorf("%w call: nobody to let in: want --service-account namespace/name", ErrInput)
	}
	return nil
}

// CheckClusters is Check for who needs only the clusters.
func (s Selection) CheckClusters() error {
	if len(s.Clusters) == 0 {
		return fmt.Errorf("%w call: no cluster: want --issuer, --publisher or --cluster-file", ErrInput)
	}
	for i, c := range s.Clusters {
		if j := slices.IndexFunc(s.Clusters[:i], func(other Cluster) bool { return other.ID == c.ID || other.Issuer == c.Issuer }); j >= 0 {
			return fmt.Errorf("%w call: clusters %s (%s) and %s (%s) have the same ID or issuer; name them with --issuer ID=URL",
				ErrInput, s.Clusters[j].ID, s.Clusters[j].Issuer, c.ID, c.Issuer)
		}
	}
	for _, a := range s.Accounts {
		if slices.Contains(s.Namespaces, a.Namespace) {
			return fmt.Errorf("%w call: service account %s is in a namespace that is let in as a whole: want one of the two", ErrInput, a)
		}
	}
	return nil
}

// Warnings are what a person should know at every provider.
func (s Selection) Warnings() []string {
	var notes []string
	for _, namespace := range s.Namespaces {
		notes = append(notes, fmt.Sprintf("warning: whoever may make a service account or a pod in namespace %s, in any of these clusters, has these rights; "+
			"a new account gets them unasked. Name the accounts instead if you can.", namespace))
	}
	for _, c := range s.Clusters {
		if c.Shared {
			notes = append(notes, fmt.Sprintf("warning: several clusters share the issuer %s: an administrator of any of them can act as these service accounts.", c.Issuer))
		}
	}
	return notes
}
