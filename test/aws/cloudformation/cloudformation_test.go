package cloudformation_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

const (
	account = "000000000000"
	region  = "eu-central-1"
)

// things is a kind that tells what it is asked, and fails where a property says so.
type things struct {
	mu    sync.Mutex
	calls []string
}

func (k *things) call(what string, r cloudformation.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	call := fmt.Sprintf("%s %s %v", what, r.LogicalID, r.Properties["V"])
	if r.Old != nil {
		call += fmt.Sprintf(" was %v", r.Old["V"])
	}
	k.calls = append(k.calls, call)
	if !strings.HasPrefix(what, "delete") && r.Properties["V"] == "bad" {
		return errors.New("the thing broke")
	}
	return nil
}

func (k *things) taken() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	calls := k.calls
	k.calls = nil
	return calls
}

func (k *things) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return cloudformation.Made{ID: "id-" + r.LogicalID, Attributes: map[string]any{"Arn": "arn-" + r.LogicalID}}, k.call("create", r)
}

func (k *things) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	id := r.ID
	if r.Properties["V"] == "moved" {
		id += "-new"
	}
	return cloudformation.Made{ID: id}, k.call("update", r)
}

func (k *things) Delete(_ context.Context, r cloudformation.Request) error {
	return k.call("delete "+r.ID, r)
}

func start(t *testing.T) (*cloudformation.Double, *things) {
	t.Helper()
	k := &things{}
	d, err := cloudformation.Start(t.Context(), cloudformation.Options{
		Account: account, Region: region, Kinds: map[string]cloudformation.Kind{"Test::Thing": {Provisioner: k, CreateOnly: []string{"Name"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d, k
}

// ask speaks CloudFormation's Query protocol.
func ask(t *testing.T, d *cloudformation.Double, into any, parameters ...string) {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		form.Set(parameters[i], parameters[i+1])
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL(), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=A/20260101/"+region+"/cloudformation/aws4_request")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v: %v %s\n%s", parameters, err, response.Status, body)
	}
	if err := xml.Unmarshal(body, into); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
}

type described struct {
	Status  string   `xml:"DescribeStacksResult>Stacks>member>StackStatus"`
	Outputs []string `xml:"DescribeStacksResult>Stacks>member>Outputs>member>OutputValue"`
}

// settle waits until the stack is at rest.
func settle(t *testing.T, d *cloudformation.Double, id string) described {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var now described
		if ask(t, d, &now, "Action", "DescribeStacks", "StackName", id); !strings.HasSuffix(now.Status, "_IN_PROGRESS") {
			return now
		}
	}
	t.Fatal("the stack does not come to rest")
	return described{}
}

// deploy carries a change set out and returns the stack's ID.
func deploy(t *testing.T, d *cloudformation.Double, kind, body string) (id string, result described) {
	t.Helper()
	var created struct {
		ID    string `xml:"CreateChangeSetResult>Id"`
		Stack string `xml:"CreateChangeSetResult>StackId"`
	}
	ask(t, d, &created, "Action", "CreateChangeSet", "StackName", "s", "ChangeSetName", "c", "ChangeSetType", kind, "TemplateBody", body)
	ask(t, d, &struct{}{}, "Action", "ExecuteChangeSet", "ChangeSetName", created.ID)
	return created.Stack, settle(t, d, created.Stack)
}

// reasons are what the events say of failures.
func reasons(t *testing.T, d *cloudformation.Double, id string) []string {
	t.Helper()
	var events struct {
		Members []struct {
			Status string `xml:"ResourceStatus"`
			Reason string `xml:"ResourceStatusReason"`
		} `xml:"DescribeStackEventsResult>StackEvents>member"`
	}
	ask(t, d, &events, "Action", "DescribeStackEvents", "StackName", id)
	var found []string
	for _, e := range events.Members {
		if strings.HasSuffix(e.Status, "_FAILED") {
			found = append(found, e.Reason)
		}
	}
	return found
}

// thing is a resource; V decides what becomes of it.
func thing(v string, more ...string) string {
	return `{"Type": "Test::Thing", ` + strings.Join(append(more, ""), ", ") + `"Properties": {"V": "` + v + `"}}`
}

func named(name string) string {
	return `{"Type": "Test::Thing", "Properties": {"V": "1", "Name": "` + name + `"}}`
}

const (
	after  = `"DependsOn": "A"`
	retain = `"DeletionPolicy": "Retain"`
)

func stackOf(a, b string) string {
	if b != "" {
		a += `, "B": ` + b
	}
	return `{"Resources": {"A": ` + a + `}, "Outputs": {"Arn": {"Value": {"Fn::Sub": "${A.Arn}/${AWS::StackName}"}}}}`
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first, second string
		status        string
		calls         []string // of the second, or of the first if there is no second
		reason        string
	}{
		"create":            {stackOf(thing("1", `"DependsOn": "B"`), thing("1")), "", "CREATE_COMPLETE", []string{"create B 1", "create A 1"}, ""},
		"creation fails":    {stackOf(thing("1"), thing("bad", after)), "", "ROLLBACK_COMPLETE", []string{"create A 1", "create B bad", "delete id-B B bad", "delete id-A A 1"}, "the thing broke"},
		"kept in rollback":  {stackOf(thing("1", retain), thing("bad", after)), "", "ROLLBACK_COMPLETE", []string{"create A 1", "create B bad", "delete id-B B bad"}, "the thing broke"},
		"unknown type":      {stackOf(`{"Type": "AWS::New::Thing"}`, ""), "", "ROLLBACK_COMPLETE", nil, "AWS::New::Thing can't be made here"},
		"unknown attribute": {stackOf(thing("1"), `{"Type": "Test::Thing", "Properties": {"V": {"Fn::GetAtt": "A.Name"}}}`), "", "ROLLBACK_COMPLETE", []string{"create A 1", "delete id-A A 1"}, "no attribute Name"},
		"update":            {stackOf(thing("1"), thing("1")), stackOf(thing("1"), thing("2")), "UPDATE_COMPLETE", []string{"update B 2 was 1"}, ""},
		"replace":           {stackOf(named("a"), ""), stackOf(named("b"), ""), "UPDATE_COMPLETE", []string{"create A 1", "delete id-A A 1"}, ""},
		"replaced itself":   {stackOf(thing("1"), ""), stackOf(thing("moved"), ""), "UPDATE_COMPLETE", []string{"update A moved was 1", "delete id-A A 1"}, ""},
		"add and remove":    {stackOf(thing("1"), thing("1", after)), `{"Resources": {"A": ` + thing("1") + `, "C": ` + thing("1") + `}}`, "UPDATE_COMPLETE", []string{"create C 1", "delete id-B B 1"}, ""},
		"remove retained":   {stackOf(thing("1"), thing("1", retain)), stackOf(thing("1"), ""), "UPDATE_COMPLETE", nil, ""},
		"update fails": {
			stackOf(thing("1"), thing("1", after)), stackOf(thing("2"), thing("bad", after)), "UPDATE_ROLLBACK_COMPLETE",
			[]string{"update A 2 was 1", "update B bad was 1", "update A 1 was 2", "update B 1 was bad"},
			"the thing broke",
		},
		"addition fails": {
			stackOf(thing("1"), ""), stackOf(thing("2"), thing("bad", after)), "UPDATE_ROLLBACK_COMPLETE",
			[]string{"update A 2 was 1", "create B bad", "update A 1 was 2", "delete id-B B bad"},
			"the thing broke",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, k := start(t)
			id, result := deploy(t, d, "CREATE", c.first)
			if c.second != "" {
				k.taken()
				_, result = deploy(t, d, "UPDATE", c.second)
			}
			if diff := cmp.Diff(c.calls, k.taken()); result.Status != c.status || diff != "" {
				t.Errorf("%s, want %s; %s", result.Status, c.status, diff)
			}
			told := reasons(t, d, id)
			if c.reason != "" && !slices.ContainsFunc(told, func(r string) bool { return strings.Contains(r, c.reason) }) || c.reason == "" && told != nil {
				t.Errorf("the events say %q, want %q", told, c.reason)
			}
			if c.reason == "" && c.second == "" && !slices.Equal(result.Outputs, []string{"arn-A/s"}) {
				t.Errorf("outputs %q", result.Outputs)
			}
		})
	}
}

func TestDestroy(t *testing.T) {
	t.Parallel()
	d, k := start(t)
	id, _ := deploy(t, d, "CREATE", `{"Resources": {"A": `+thing("1", retain)+`, "B": `+thing("1", after)+`, "C": `+thing("1", `"DependsOn": "B"`)+`}}`)
	k.taken()
	ask(t, d, &struct{}{}, "Action", "DeleteStack", "StackName", "s")
	result := settle(t, d, id)
	if diff := cmp.Diff([]string{"delete id-C C 1", "delete id-B B 1"}, k.taken()); result.Status != "DELETE_COMPLETE" || diff != "" {
		t.Errorf("%s %s", result.Status, diff)
	}
}
