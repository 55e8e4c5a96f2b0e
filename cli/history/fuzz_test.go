package history_test

import (
	"testing"
	"testing/fstest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
)

// Whatever is in the files, there is a report or an error, and no log of one issuer that was not looked at.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"number":1,"received":"2026-11-02T08:00:00Z","trust":"operator","statement":{"issuer":"https://a","action":"revoke","reason":"x"},"changes":[],"after":[]}`), []byte(`{"format":1,"issuer":"https://a","log":{"entries":1}}`))
	f.Add([]byte("Content-Type: application/json\n\n{}"), []byte("{"))
	f.Fuzz(func(t *testing.T, record, state []byte) {
		files := fstest.MapFS{
			"log/a/0000000001.json":  {Data: record},
			"log/a/0000000002.json@": {Data: record},
			"state/a.json":           {Data: state},
		}
		report, err := history.Read(files, "")
		if err != nil || len(report.Logs) != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
		if log := report.Logs[0]; len(log.Problems) == 0 { // record 2 can never follow itself
			t.Fatalf("%+v", log)
		}
	})
}
