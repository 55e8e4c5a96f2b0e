package inventory

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"
)

// MaxBytes is the largest file, and maxAnswer the largest page of a list, that is read.
const (
	MaxBytes  = 256 << 20
	maxAnswer = 64 << 20

	pageSize    = 250
	pageTimeout = 30 * time.Second
)

// ErrFile means that a file holds no objects of Kubernetes.
var ErrFile = errors.New("no Kubernetes objects")

// AddFile puts a file's objects in: YAML documents or JSON objects, one after the other, lists included. The error is ErrFile.
func (c *Cluster) AddFile(name string, data []byte) error {
	if len(data) > MaxBytes {
		return fmt.Errorf("%s: %w that could be read: it has more than %d bytes; give several files", name, ErrFile, MaxBytes)
	}
	before, problems := c.Objects, len(c.Problems)
	if trimmed := bytes.TrimLeft(data, " \t\r\n\ufeff"); bytes.HasPrefix(trimmed, []byte("{")) {
		c.addJSON(name, trimmed)
	} else {
		c.addYAML(name, data)
	}
	if c.Objects == before && len(c.Problems) == problems {
		return fmt.Errorf("%s: %w in it that matter here; want the output of kubectl get … -o json or -o yaml", name, ErrFile)
	}
	return nil
}

func (c *Cluster) addJSON(name string, data []byte) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	for number := 1; ; number++ {
		var object json.RawMessage
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return
		}
		where := fmt.Sprintf("%s, object %d", name, number)
		if err != nil {
			c.problem(where, err)
			return
		}
		c.add(where, object, "", "", 0)
	}
}

func (c *Cluster) addYAML(name string, data []byte) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		where := fmt.Sprintf("%s, document %d", name, number)
		if err != nil {
			c.problem(where, err)
			return
		}
		object, err := yaml.YAMLToJSON(document)
		switch {
		case err != nil:
			c.problem(where, err)
		case !bytes.Equal(object, []byte("null")):
			c.add(where, object, "", "", 0)
		}
	}
}

// lists are what is read of a live cluster; only a cluster that had kube-aws-iam-controller has the last two.
var lists = []struct {
	path, selector string
	controller     bool
}{
	{path: "/api/v1/namespaces"},
	{path: "/api/v1/serviceaccounts"},
	{path: "/apis/apps/v1/deployments"},
	{path: "/apis/apps/v1/statefulsets"},
	{path: "/apis/apps/v1/daemonsets"},
	{path: "/apis/apps/v1/replicasets"},
	{path: "/apis/batch/v1/cronjobs"},
	{path: "/apis/batch/v1/jobs"},
	{path: "/api/v1/replicationcontrollers"},
	{path: "/api/v1/pods"},
	{path: "/apis/rbac.authorization.k8s.io/v1/rolebindings"},
	{path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"},
	{path: "/apis/zalando.org/v1/awsiamroles", controller: true},
	{path: "/api/v1/secrets", controller: true, selector: "heritage=kube-aws-iam-controller"},
}

// AddCluster puts the objects of a live cluster in, page by page. What can't be read is in Problems; the error says that the cluster does not answer.
func (c *Cluster) AddCluster(ctx context.Context, client kubernetes.Interface, controller bool) error {
	for _, list := range lists {
		if list.controller && !controller {
			continue
		}
		err := c.addList(ctx, client, list.path, list.selector)
		var status kubeerrors.APIStatus
		switch {
		case err == nil, kubeerrors.IsNotFound(err) && list.controller:
		case errors.As(err, &status):
			c.problem(list.path, err)
		default:
			return fmt.Errorf("read %s: %w", list.path, err)
		}
	}
	return nil
}

func (c *Cluster) addList(ctx context.Context, client kubernetes.Interface, path, selector string) error {
	for next := ""; ; {
		page, err := readPage(ctx, client, path, selector, next)
		if err != nil {
			return err
		}
		var list header
		if err := json.Unmarshal(page, &list); err != nil {
			return err
		}
		kind, version := "", ""
		if selector != "" {
			kind, version = "Secret", "v1"
		} else if item, found := strings.CutSuffix(list.Kind, "List"); found {
			kind, version = item, list.APIVersion
		}
		for i, each := range list.Items {
			c.add(fmt.Sprintf("%s, item %d", path, i+1), each, kind, version, maxDepth)
		}
		var metadata struct {
			Metadata struct{ Continue string }
		}
		if err := json.Unmarshal(page, &metadata); err != nil {
			return err
		}
		if next = metadata.Metadata.Continue; next == "" {
			return nil
		}
	}
}

// readPage reads a part of a list. With a selector, which only Secrets have, it reads metadata alone: what is in them never comes here.
func readPage(ctx context.Context, client kubernetes.Interface, path, selector, next string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	accept := "application/json"
	if selector != "" {
		accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	}
	request := client.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).Param("limit", strconv.Itoa(pageSize))
	if selector != "" {
		request.Param("labelSelector", selector)
	}
	if next != "" {
		request.Param("continue", next)
	}
	stream, err := request.Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	page, err := io.ReadAll(io.LimitReader(stream, maxAnswer+1))
	if err == nil && len(page) > maxAnswer {
		err = fmt.Errorf("a page of %d objects has more than %d bytes", pageSize, maxAnswer)
	}
	return page, err
}

// Issuer is what the API server says is the issuer of its tokens; empty if it does not say, as one whose issuer is no https URL.
func Issuer(ctx context.Context, client kubernetes.Interface) string {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	body, err := client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").SetHeader("Accept", "application/json").DoRaw(ctx)
	var document struct {
		Issuer string `json:"issuer"`
	}
	if err != nil || json.Unmarshal(body, &document) != nil {
		return ""
	}
	return document.Issuer
}
