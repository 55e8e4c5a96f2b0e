package architecture

// Module is this project's module path.
const Module = "github.com/kube-iam-assume/kube-iam-assume"

// An Arrow says what the packages of one folder may import from this module. A folder stands for itself and everything below
// it that has no arrow of its own; its packages may import each other.
type Arrow struct {
	From string   // folder, relative to the module
	To   []string // folders that have an arrow, each exactly; "shared/..." is all of them below shared, "..." all there are
}

// Arrows are the allowed imports between the project's folders; what is not here is not allowed.
var Arrows = []Arrow{
	{From: "shared/jwks"},
	{From: "shared/snapshot", To: []string{"shared/jwks"}},
	{From: "shared/snapshot/snapshottest", To: []string{"shared/snapshot", "shared/jwks"}},
	{From: "shared/rotation", To: []string{"shared/snapshot", "shared/jwks"}},
	{From: "shared/bucket"},
	{From: "shared/bucket/buckettest", To: []string{"shared/bucket"}},
	{From: "shared/bucket/memory", To: []string{"shared/bucket"}},
	{From: "shared/bucket/dir", To: []string{"shared/bucket"}},
	{From: "shared/bucket/s3", To: []string{"shared/bucket"}},
	{From: "shared/bucket/gcs", To: []string{"shared/bucket"}},
	{From: "shared/bucket/azblob", To: []string{"shared/bucket"}},
	{From: "shared/settings"},
	{From: "shared/enrollment", To: []string{"shared/settings", "shared/jwks"}},
	{From: "shared/publish", To: []string{
		"shared/rotation", "shared/snapshot", "shared/jwks", "shared/bucket", "shared/enrollment", "shared/settings",
	}},

	{From: "shared/function", To: []string{"shared/publish", "shared/enrollment", "shared/rotation"}},

	{From: "functions/archive"},
	{From: "functions/pack", To: []string{"functions/archive"}},
	{From: "functions/gcp/pack", To: []string{"functions/archive"}},
	{From: "functions/azure/pack", To: []string{"functions/archive"}},
	{From: "functions/aws", To: deciding("shared/bucket/s3")},
	{From: "functions/gcp", To: deciding("shared/bucket/gcs")},
	{From: "functions/azure", To: deciding("shared/bucket/azblob")},
	{From: "functions/standalone", To: deciding("shared/bucket/dir")},

	{From: "cluster-exporter", To: []string{"shared/snapshot", "shared/jwks", "shared/settings"}},
	{From: "identity-webhook"},
	{From: "cli", To: []string{"shared/...", "cli/demo"}},
	{From: "cli/demo", To: []string{"shared/...", "test/standin"}}, // a demo needs somebody to play the cluster
	{From: "cdk", To: []string{"shared/settings", "shared/enrollment", "shared/publish"}},
	{From: "deploy"}, // tests of what is applied
	{From: "test", To: []string{"..."}},
	{From: "test/standin", To: []string{"shared/jwks"}},
}

// deciding is what a function may import: the publisher, what it speaks of, and the function's own bucket driver.
func deciding(driver string) []string {
	return []string{
		"shared/function", "shared/publish", "shared/enrollment", "shared/settings",
		"shared/rotation", "shared/snapshot", "shared/jwks", "shared/bucket", driver,
	}
}

// Core are the folders whose packages must be pure: given the same arguments, the same result, and nothing else happens.
var Core = []string{"shared/jwks", "shared/snapshot", "shared/rotation"}

// Impure are the standard packages through which a program reaches files, network, processes and logs. Each stands for what
// is below it too, except net, where the parsers net/netip and net/url are harmless (see checkPurity).
var Impure = []string{
	"os", "io/fs", "io/ioutil", "embed", "syscall", "plugin", "log", "testing", "unsafe",
	"net/http", "net/rpc", "net/smtp", "net/textproto", "crypto/tls", "database/sql", "expvar", "runtime/debug",
}

// SDKs are the clouds, each with the import paths of the libraries that reach it.
var SDKs = map[string][]string{
	"aws":   {"github.com/aws/aws-sdk-go", "github.com/aws/aws-sdk-go-v2", "github.com/aws/aws-lambda-go", "github.com/aws/smithy-go"},
	"gcp":   {"cloud.google.com/go", "google.golang.org/api", "github.com/GoogleCloudPlatform"},
	"azure": {"github.com/Azure/azure-sdk-for-go", "github.com/AzureAD"},
}

// AnyCloud are the binaries that speak to whichever cloud their user has. Every other binary links one at most.
var AnyCloud = []string{"cluster-exporter", "cli"}

// Heavy are libraries a binary must not link at all, because its size and memory are part of what it promises.
var Heavy = map[string][]string{
	"cluster-exporter": {
		"google.golang.org/grpc", "google.golang.org/api", "cloud.google.com/go", "github.com/aws/aws-sdk-go-v2/service/s3", "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob",
		"sigs.k8s.io/controller-runtime", "k8s.io/client-go/informers", "k8s.io/kubernetes",
	},
}
