package chart_test

import (
	"os"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

func TestMain(m *testing.M) {
	pod.Main()
	os.Exit(m.Run())
}
