package federation

import (
	"bytes"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Whatever Google holds: what is taken for our keys is our keys, to the last member.
func FuzzEquivalent(f *testing.F) {
	wanted := string(set(rsaKey, ecKey).Canonical())
	for _, seed := range []string{
		"", "null", "{}", `{"keys":null}`, `{"keys":[]}`, `{"keys":[null]}`, `{"keys":[{}]}`, `{"keys":[],"keys":[]}`, wanted, wanted + "\n",
		string(set(ecKey, rsaKey).Encode()), string(set(rsaKey).Encode()), string(set(ecKey, ecKey).Encode()),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, held string) {
		same := equivalent(held, wanted)
		if same != equivalent(wanted, held) {
			t.Fatalf("%q: it depends on who is asked first", held)
		}
		found, err := jwks.Parse([]byte(held))
		if same && (err != nil || !bytes.Equal(found.Canonical(), []byte(wanted))) {
			t.Fatalf("%q is taken for our keys: %v", held, err)
		}
		if err == nil && !equivalent(string(found.Canonical()), string(found.Encode())) {
			t.Fatalf("%q: the order counts", held)
		}
	})
}
