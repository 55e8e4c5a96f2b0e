package publish

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

func FuzzDecodeState(f *testing.F) {
	for _, state := range []rotation.State{
		{Format: 1, Issuer: "https://a", Clusters: []rotation.Cluster{{ID: "b", Keys: []rotation.Key{}}}}, {Format: 99},
	} {
		data, err := json.Marshal(state)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := decodeState(data)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeState(encoded)
		if err != nil {
			t.Fatalf("%v: %q is written as %q", err, data, encoded)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(encoded, twice) {
			t.Fatalf("%v: %q is written as %q", err, encoded, twice)
		}
	})
}
