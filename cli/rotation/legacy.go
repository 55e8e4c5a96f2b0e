package rotation

import (
	"context"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

const (
	secretsTimeout = 15 * time.Second
	secretsPage    = 500
	maxSecrets     = 1000
)

// legacySecrets names the secrets whose tokens live for ever. It reads names only: no token comes to this machine.
func legacySecrets(ctx context.Context, config *rest.Config) (names []string, problem string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), secretsTimeout)
	defer cancel()
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err.Error()
	}
	secrets := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"})
	options := metav1.ListOptions{FieldSelector: "type=kubernetes.io/service-account-token", Limit: secretsPage}
	for {
		page, err := secrets.List(ctx, options)
		if err != nil {
			return names, fmt.Sprintf("they can't be listed: %v", err)
		}
		for _, secret := range page.Items {
			names = append(names, secret.Namespace+"/"+secret.Name)
		}
		if options.Continue = page.Continue; options.Continue == "" || len(names) >= maxSecrets {
			return names, ""
		}
	}
}

func printSecrets(out io.Writer, names []string, problem string) {
	if problem != "" {
		fmt.Fprintf(out, "Secrets with tokens that live for ever: %s\n", problem)
		return
	}
	if len(names) == 0 {
		fmt.Fprintln(out, "There are no secrets with tokens that live for ever.")
		return
	}
	fmt.Fprintln(out, "Secrets with tokens that live for ever:")
	for _, name := range names {
		fmt.Fprintf(out, "  %s\n", name)
	}
}
