package aws_test

import (
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

func TestMain(m *testing.M) { aws.Main(m) }
