package bucketname_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/bucketname"
)

// What our Terraform modules take, with what they add to it.
var (
	bucket  = regexp.MustCompile(`^[a-z0-9][-a-z0-9]{1,61}[a-z0-9]$`)
	account = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

const random = "abcdefghijkl"

func FuzzNames(f *testing.F) {
	for _, prefix := range []string{"oidc", "g00gle", "goog", "o.idc", "-o", "o-", "", strings.Repeat("o", 60)} {
		f.Add(prefix)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		s, err := bucketname.GCP(prefix, random)
		if err == nil && (!bucket.MatchString(s.Name+"-settings") || !strings.HasSuffix(s.IssuerBase, "/"+s.Name)) || err != nil && !errors.Is(err, bucketname.ErrPrefix) {
			t.Errorf("%q: %+v, %v", prefix, s, err)
		}
		s, err = bucketname.Azure(prefix, random)
		if err == nil && (!account.MatchString(s.Name+"priv") || !strings.HasPrefix(s.IssuerBase, "https://"+s.Name+".blob.")) || err != nil && !errors.Is(err, bucketname.ErrPrefix) {
			t.Errorf("%q: %+v, %v", prefix, s, err)
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "o.idc", "google", "my-g00gle", "goog", "-o", strings.Repeat("o", 60)} {
		if s, err := bucketname.GCP(prefix, random); err == nil {
			t.Errorf("%q became %s", prefix, s.Name)
		}
	}
	for _, prefix := range []string{"", "o-idc", "O", "ninechars"} {
		if s, err := bucketname.Azure(prefix, random); err == nil {
			t.Errorf("%q became %s", prefix, s.Name)
		}
	}
}
