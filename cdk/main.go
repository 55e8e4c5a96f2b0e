// Command cdk is the CDK app: it reads stack.yaml, builds the function, and synthesizes the stack. Run it by `npx cdk deploy`.
package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/jsii-runtime-go"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stack"
	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

func main() {
	defer jsii.Close()
	file, err := stackfile.Load(cmp.Or(os.Getenv("KUBE_IAM_ASSUME_STACK"), "stack.yaml"))
	pack := filepath.Join("dist", file.Name)
	if err == nil && !file.Hosting.Existing {
		err = stack.Build(context.Background(), "..", pack, file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	app := stack.NewApp()
	stack.New(app, file, pack)
	app.Synth(nil)
}
