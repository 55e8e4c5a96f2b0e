//go:build e2e_aws

package firstinstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// substitutions are all that is not followed literally, and why.
var substitutions = []Substitution{
	{"111122223333", aws.AccountID, "the stand-in has this account"},
	{"npm ci\n", "npm ls > npm.log\n", "no registry is reached from here: the same packages are there, and looked over"},
	{"npx cdk bootstrap ", "true npx cdk bootstrap ", "the stand-in's account has been bootstrapped"},
	{"--values prod-eu1.json", `--values prod-eu1.json --set-file caBundle.pem="$SSL_CERT_FILE"`, "the stand-in's certificates are of an authority of its own"},
	{"aws logs tail $LOG_GROUP --since 15m --filter-pattern '{ $.event = \"snapshot.accepted\" }'\n", "", "no CloudWatch Logs: the function's log itself is read"},
}

// install is a first install that has come so far.
type install struct {
	*bench
	page    *Substitute
	outputs map[string]string // of the stack
	old     string            // a workload's token of before
	answers int               // to questions of the step's commands
}

// From nothing to a pod that reads its object, by the page alone.
func TestFirstInstall(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs", "aws.md"))
	if err != nil {
		t.Fatal(err)
	}
	policy := "arn:aws:iam::" + aws.AccountID + ":policy/payments"
	i := &install{bench: newBench(t, map[string]string{policy: payments}), page: &Substitute{Table: substitutions}}
	i.fill()
	follow := []func(*install, *Step){
		(*install).enroll, (*install).describe, (*install).deploy, (*install).inspect, (*install).point, (*install).export, (*install).give,
	}
	steps := Parse(string(text))
	if len(steps) != len(follow) {
		t.Fatalf("the page has %d steps, want %d", len(steps), len(follow))
	}
	var rows []Row
	for n, step := range steps {
		began := time.Now()
		i.answers = 0
		follow[n](i, &step)
		rows = append(rows, Row{step, i.answers, time.Since(began)})
	}
	for _, s := range i.page.Unused() {
		t.Errorf("the page does not say %q any more", s.Page)
	}
	if err := errors.Join(WriteTable(os.Stdout, rows), WriteSubstitutions(os.Stdout, substitutions)); err != nil {
		t.Error(err)
	}
}

// shell runs a step's commands: what its prose mentions, and every block.
func (i *install) shell(s *Step) {
	i.Helper()
	for _, script := range append(s.Mentioned(), s.Of(Shell)...) {
		i.answers += i.run(i.page.In(script))
	}
}

// one is the step's only block of a kind, as it is followed here.
func (i *install) one(s *Step, kind Kind) string {
	i.Helper()
	all := s.Of(kind)
	if len(all) != 1 {
		i.Fatalf("step %q has %d blocks of %s, want one", s.Title, len(all), kind)
	}
	return i.page.In(all[0])
}

func (i *install) enroll(s *Step) {
	i.shell(s)
	if key := i.cluster.Servers[0].Config().Keys.Sign.ID(); !strings.Contains(string(i.read("clusters/prod-eu1.yaml")), key) {
		i.Fatalf("key %s is not enrolled", key)
	}
}

func (i *install) describe(s *Step) {
	if !strings.Contains(s.prose, "write `stack.yaml`") {
		i.Fatal("the page does not say where to write the stack")
	}
	i.write("stack.yaml", i.one(s, File))
}

func (i *install) deploy(s *Step) {
	i.shell(s)
	var stacks map[string]map[string]string
	if err := json.Unmarshal(i.read("outputs.json"), &stacks); err != nil {
		i.Fatal(err)
	}
	i.outputs = stacks["prod"]
}

func (i *install) inspect(s *Step) { i.shell(s) }

// point starts the API server again with the page's flags, which come after the flags it has.
func (i *install) point(s *Step) {
	i.old = i.token(i.cluster.Servers[0].Config().Issuers...)
	var config kube.Config
	for flag := range strings.FieldsSeq(i.one(s, Flags)) {
		if issuer, ok := strings.CutPrefix(flag, "--service-account-issuer="); ok {
			config.Issuers = append(config.Issuers, issuer)
		} else {
			config.Flags = append(config.Flags, flag)
		}
	}
	server := i.cluster.Servers[0]
	config.Keys = server.Config().Keys
	server.Restart(i.T, config)
	review := &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: i.old, Audiences: []string{oldIssuer}}}
	answer, err := i.cluster.Admin(0).AuthenticationV1().TokenReviews().Create(i.Context(), review, meta.CreateOptions{})
	if err != nil || !answer.Status.Authenticated {
		i.Errorf("a token of the old issuer: %v, %+v", err, answer)
	}
}

// export installs the chart, and runs what it rendered until the function has accepted its word.
func (i *install) export(s *Step) {
	i.shell(s)
	exporter := i.startExporter()
	i.eventually("the word of pod "+exporter.Name+" is taken", func(context.Context) error {
		if log := i.Account.Log(i.outputs["FunctionName"]); !strings.Contains(log, `"snapshot.accepted"`) {
			return fmt.Errorf("the function's log: %s", log)
		}
		return nil
	})
}

// token is the workload's.
func (i *install) token(audiences ...string) string {
	i.Helper()
	return i.cluster.Token(i.T, 0, "production", "payments", audiences, 3600)
}
