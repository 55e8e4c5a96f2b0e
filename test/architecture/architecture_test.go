package architecture_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/architecture"
)

func TestSourceKeepsTheRules(t *testing.T) {
	t.Parallel()
	graph, err := architecture.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, core := range architecture.Core {
		if _, found := graph[architecture.Module+"/"+core]; !found {
			t.Errorf("the graph lacks %s: nothing was checked", core)
		}
	}
	for _, violation := range architecture.Check(graph) {
		t.Error(violation)
	}
}

// Each case is one package that does not exist, and a part of the violation it must cause; "" stands for none.
func TestCheck(t *testing.T) {
	t.Parallel()
	const ours = architecture.Module + "/"
	const binary = "main"
	tests := map[string]struct {
		folder, name string
		imports      []string // our own begin with "./"; a binary also links them
		want         string
	}{
		"standard library":               {folder: "shared/jwks", imports: []string{"crypto/rsa", "time", "net/url", "net/netip"}},
		"down the core":                  {folder: "shared/rotation", imports: []string{"./shared/snapshot", "./shared/jwks"}},
		"up the core":                    {folder: "shared/jwks", imports: []string{"./shared/snapshot"}, want: "imports shared/snapshot"},
		"core to publish":                {folder: "shared/rotation", imports: []string{"./shared/publish"}, want: "imports shared/publish"},
		"core to bucket":                 {folder: "shared/rotation", imports: []string{"./shared/bucket"}, want: "imports shared/bucket"},
		"core reads a file":              {folder: "shared/jwks", imports: []string{"os"}, want: "imports os, but the core is pure"},
		"core runs a program":            {folder: "shared/jwks", imports: []string{"os/exec"}, want: "the core is pure"},
		"core dials":                     {folder: "shared/snapshot", imports: []string{"net"}, want: "the core is pure"},
		"core asks the web":              {folder: "shared/snapshot", imports: []string{"net/http"}, want: "the core is pure"},
		"core logs":                      {folder: "shared/rotation/inner", imports: []string{"log/slog"}, want: "the core is pure"},
		"publish decides and writes":     {folder: "shared/publish", imports: []string{"./shared/rotation", "./shared/bucket", "./shared/enrollment"}},
		"publish knows a driver":         {folder: "shared/publish", imports: []string{"./shared/bucket/dir"}, want: "imports shared/bucket/dir"},
		"driver to the interface":        {folder: "shared/bucket/dir", imports: []string{"./shared/bucket", "os"}},
		"driver decides":                 {folder: "shared/bucket/dir", imports: []string{"./shared/rotation"}, want: "imports shared/rotation"},
		"driver uses another":            {folder: "shared/bucket/s3", imports: []string{"./shared/bucket/dir"}, want: "imports shared/bucket/dir"},
		"interface knows a driver":       {folder: "shared/bucket", imports: []string{"./shared/bucket/memory"}, want: "imports shared/bucket/memory"},
		"enrollment publishes":           {folder: "shared/enrollment", imports: []string{"./shared/publish"}, want: "imports shared/publish"},
		"function with its driver":       {folder: "functions/aws", name: binary, imports: []string{"./shared/publish", "./shared/bucket/s3"}},
		"function with another's":        {folder: "functions/aws", name: binary, imports: []string{"./shared/bucket/gcs"}, want: "imports shared/bucket/gcs"},
		"function to function":           {folder: "functions/gcp", name: binary, imports: []string{"./functions/aws"}, want: "imports functions/aws"},
		"exporter signs":                 {folder: "cluster-exporter/send", imports: []string{"./shared/snapshot", "./cluster-exporter/read"}},
		"exporter decides":               {folder: "cluster-exporter", imports: []string{"./shared/rotation"}, want: "imports shared/rotation"},
		"exporter reaches into publish":  {folder: "cluster-exporter", imports: []string{"./shared/publish"}, want: "imports shared/publish"},
		"command uses what is shared":    {folder: "cli/demo", imports: []string{"./shared/publish", "./shared/bucket/dir"}},
		"command links a function":       {folder: "cli", name: binary, imports: []string{"./functions/standalone"}, want: "imports functions/standalone"},
		"command links the exporter":     {folder: "cli", name: binary, imports: []string{"./cluster-exporter"}, want: "imports cluster-exporter"},
		"product imports a test":         {folder: "cli", imports: []string{"./test/kube"}, want: "imports test/kube"},
		"product links test material":    {folder: "cluster-exporter", imports: []string{"./shared/snapshot/snapshottest"}, want: "imports shared/snapshot/snapshottest"},
		"shared imports the product":     {folder: "shared/publish", imports: []string{"./cli"}, want: "imports cli"},
		"test imports anything":          {folder: "test/e2e", imports: []string{"./cli", "./functions/aws", "./shared/bucket/s3"}},
		"stack reads the settings":       {folder: "cdk", imports: []string{"./shared/enrollment"}},
		"stack decides":                  {folder: "cdk", imports: []string{"./shared/rotation"}, want: "imports shared/rotation"},
		"pod webhook stands alone":       {folder: "identity-webhook", imports: []string{"./shared/jwks"}, want: "imports shared/jwks"},
		"folder without a rule":          {folder: "pkg/helpers", want: "in no folder the architecture knows"},
		"similar name is another folder": {folder: "shared/jwks2", want: "in no folder the architecture knows"},
		"two clouds in one binary": {
			folder: "functions/aws", name: binary, imports: []string{"github.com/aws/aws-sdk-go-v2/service/s3", "cloud.google.com/go/storage"},
			want: "links the SDKs of [aws gcp]",
		},
		"exporter sends to any cloud": {
			folder: "cluster-exporter", name: binary, imports: []string{"github.com/aws/aws-sdk-go-v2/service/sqs", "github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"},
		},
		"exporter keeps documents": {
			folder: "cluster-exporter", name: binary, imports: []string{"cloud.google.com/go/storage"}, want: "links cloud.google.com/go,",
		},
		"two clouds in one library": {
			folder: "cli/setup", imports: []string{"github.com/aws/smithy-go", "google.golang.org/api/iam/v1"},
		},
		"own cloud": {folder: "functions/azure", name: binary, imports: []string{"github.com/Azure/azure-sdk-for-go/sdk/azcore"}},
		"another's cloud": {
			folder: "functions/gcp", name: binary, imports: []string{"github.com/Azure/azure-sdk-for-go/sdk/azcore"},
			want: "links the SDK of azure",
		},
		"cloud in the embedded publisher": {
			folder: "functions/standalone", name: binary, imports: []string{"github.com/aws/smithy-go"}, want: "links the SDK of aws",
		},
		"heavy exporter": {
			folder: "cluster-exporter", name: binary, imports: []string{"google.golang.org/grpc/codes"},
			want: "links google.golang.org/grpc",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := architecture.Package{ImportPath: ours + test.folder, Name: test.name}
			for _, imported := range test.imports {
				if own, found := strings.CutPrefix(imported, "./"); found {
					imported = ours + own
				}
				p.Imports = append(p.Imports, imported)
			}
			p.Deps = p.Imports
			got := architecture.Check(architecture.Graph{p.ImportPath: p})
			if test.want == "" && len(got) > 0 {
				t.Errorf("a rule was broken: %q", got)
			}
			if test.want != "" && !slices.ContainsFunc(got, func(v string) bool { return strings.Contains(v, test.want) }) {
				t.Errorf("got %q, want a violation with %q", got, test.want)
			}
		})
	}
}
