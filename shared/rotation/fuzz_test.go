package rotation_test

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://a","cluster":"b","action":"announce","keys":` + string(set(b).Encode()[8:len(set(b).Encode())-1]) + `,"reason":"c"}`))
	f.Add([]byte(`{"issuer":"https://a","action":"revoke","keyIDs":["x"],"withWord":true,"since":"2026-11-21T00:00:00Z","reason":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := rotation.ParseStatement(data)
		if err != nil {
			return
		}
		encoded := must(json.Marshal(s))
		again, err := rotation.ParseStatement(encoded)
		if err != nil || !bytes.Equal(encoded, must(json.Marshal(again))) {
			t.Fatalf("%v: %q is written as %q", err, data, encoded)
		}
	})
}

func FuzzPublicationOf(f *testing.F) {
	f.Add(rotation.Render(rotation.State{Publication: 7}))
	f.Add([]byte("\t \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		number, ok := rotation.PublicationOf(data)
		if tail := rotation.Render(rotation.State{Publication: number}); ok && !bytes.HasSuffix(data, tail[len(tail)-33:]) {
			t.Fatalf("%q is read as %d", data, number)
		}
	})
}
