package stackfile

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// Whatever somebody writes: it is refused with its place, or all that follows from it can be made.
func FuzzStack(f *testing.F) {
	var good []string
	for i, file := range []string{"bucket", "cloudfront", "existing"} {
		good = append(good, string(must(os.ReadFile("testdata/"+file+".yaml"))))
		f.Add(uint8(i), uint16(len(good[i])), uint8(0), "queue: false\n")
		f.Add(uint8(i), uint16(strings.Index(good[i], "production/payments")), uint8(len("production")), "*")
		f.Add(uint8(i), uint16(strings.Index(good[i], "eu-central-1")), uint8(len("eu-central-1")), "cn-north-1")
	}
	arn := regexp.MustCompile(`^arn:aws[-a-z]*:iam::[0-9]{12}:oidc-provider/[-a-z0-9._~/]+$`)
	f.Fuzz(func(t *testing.T, which uint8, at uint16, length uint8, text string) { // instead of a part of a good file
		file := good[int(which)%len(good)]
		from := min(int(at), len(file))
		to := min(from+int(length), len(file))
		s, err := loadFS(beside(file[:from]+text+file[to:]), "stack.yaml")
		if err != nil {
			if !errors.Is(err, settings.ErrInvalid) {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		if len(s.Package()) != 1+len(s.Clusters) {
			t.Errorf("%d files for %d clusters", len(s.Package()), len(s.Clusters))
		}
		for _, c := range s.Clusters {
			if objects := c.Objects(); !strings.HasPrefix(objects.JWKS, c.ID+"/") || !strings.HasSuffix(c.Issuer, "/"+c.ID) || !arn.MatchString(s.providerARN(c)) {
				t.Errorf("cluster %s has the issuer %s and the objects %+v", c.ID, c.Issuer, objects)
			}
		}
		for _, role := range s.Roles {
			if len(role.Clusters) == 0 || strings.ContainsAny(role.Namespace+role.Name+strings.Join(role.ManagedPolicies, ""), "*?$ ") {
				t.Errorf("role %+v", role)
			}
		}
	})
}
