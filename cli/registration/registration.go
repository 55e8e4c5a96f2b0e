// Package registration is the language in which doctor is told what a cloud knows of an issuer: findings, each about one link of the chain. The readers are
// beside what they read: cli/setup/aws, gcp, azure and vault, which know the wanted forms and repair what is wrong. A reader changes nothing.
package registration

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Wanted is what a cloud is to know.
type Wanted struct {
	Issuer  string
	Cluster string   // ID by which setup names what it makes for the issuer
	Subject string   // of the workload that is to be let in; "" for none
	Keys    jwks.Set // that are published, or else those that the API servers list; none if neither is known
}

// Workload is the subject's namespace and name. It is empty without a subject.
func (w Wanted) Workload() (namespace, name string) {
	namespace, name, _ = strings.Cut(strings.TrimPrefix(w.Subject, "system:serviceaccount:"), ":")
	return namespace, name
}

// Account is how setup is told the workload: the flag, or an empty text without a subject.
func (w Wanted) Account() string {
	if namespace, name := w.Workload(); name != "" {
		return " --service-account " + namespace + "/" + name
	}
	return ""
}

// plain is what a shell takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./~-]+$`)

// From is how setup is told the issuer. It may be what an API server says, which is anything: whoever pastes the command runs nothing of it.
func (w Wanted) From() string {
	if plain.MatchString(w.Issuer) {
		return " --issuer " + w.Issuer
	}
	return " --issuer '" + strings.ReplaceAll(w.Issuer, "'", `'\''`) + "'"
}

// Reader asks one cloud. A question that the cloud does not answer is a finding, too: Unknown.
type Reader interface {
	Examine(ctx context.Context, w Wanted) []Finding
}

// Status is what a finding means.
type Status int

// Unknown is neither well nor broken: the answer was denied, or nobody answered.
const (
	Well Status = iota
	Doubtful
	Unknown
	Broken
)

// Finding is about one check of doctor's.
type Finding struct {
	Check  string // its ID
	Status Status
	Detail string
	Remedy string // one sentence; "" for what is well
}

// Ok says that a link holds.
func Ok(check, format string, args ...any) Finding {
	return Finding{check, Well, fmt.Sprintf(format, args...), ""}
}

// Warn says that a link holds, with a doubt.
func Warn(check, remedy, format string, args ...any) Finding {
	return Finding{check, Doubtful, fmt.Sprintf(format, args...), remedy}
}

// Break says that a link is broken.
func Break(check, remedy, format string, args ...any) Finding {
	return Finding{check, Broken, fmt.Sprintf(format, args...), remedy}
}

// Unseen says that a question was not answered.
func Unseen(check, remedy, format string, args ...any) Finding {
	return Finding{check, Unknown, fmt.Sprintf(format, args...), remedy}
}
