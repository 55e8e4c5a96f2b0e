package history_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// reader is the past's bucket, in which some objects are absent or denied.
type reader struct {
	location.Reader
	absent, denied string // ends of names
}

var errDenied = errors.New("denied")

func (r reader) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	switch {
	case r.absent != "" && strings.HasSuffix(name, r.absent):
		return bucket.Object{}, bucket.Absent, bucket.ErrNotFound
	case r.denied != "" && strings.HasSuffix(name, r.denied):
		return bucket.Object{}, bucket.Absent, errDenied
	}
	return r.Reader.Get(ctx, name)
}

// A log in a bucket is the same as its files; what is missing in it is told, and what is denied is not taken for missing.
func TestBucket(t *testing.T) {
	t.Parallel()
	p := live(t)
	from, err := location.Open(t.Context(), p.data)
	if err != nil {
		t.Fatal(err)
	}
	report, err := history.ReadBucket(t.Context(), from, issuer)
	if err != nil {
		t.Fatal(err)
	}
	files, err := history.Read(os.DirFS(p.data), issuer)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, report); diff != "" {
		t.Errorf("the bucket's report differs (-files +bucket):\n%s", diff)
	}
	for absent, want := range map[string]string{
		"0000000002.json": "record 2 is missing", "state/oidc.example.com!prod.json": "The state is not there",
	} {
		report, err := history.ReadBucket(t.Context(), reader{Reader: from, absent: absent}, issuer)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for _, problem := range report.Logs[0].Problems {
			said.WriteString(problem.What)
		}
		said.WriteString(strings.Join(report.Logs[0].Notes, ""))
		if !strings.Contains(said.String(), want) {
			t.Errorf("without %s: %s", absent, said.String())
		}
	}
	for _, denied := range []string{"0000000002.json", "prod.json"} {
		if _, err := history.ReadBucket(t.Context(), reader{Reader: from, denied: denied}, issuer); !errors.Is(err, errDenied) {
			t.Errorf("%s is denied: %v", denied, err)
		}
	}
	if _, err := history.ReadBucket(t.Context(), from, issuer+"-2"); !errors.Is(err, history.ErrNoLog) {
		t.Errorf("another issuer: %v", err)
	}
}
