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
	listTimeout = 15 * time.Second
	listPage    = 500
	maxNames    = 1000
)

// LegacySecrets names the secrets whose tokens live for ever. It reads names only: no token comes to this machine. The
// problem is why they are not all.
func LegacySecrets(ctx context.Context, config *rest.Config) (names []string, problem string) {
	return list(ctx, config, "secrets", "type=kubernetes.io/service-account-token", func(metav1.ObjectMeta) bool { return true })
}

// podsBefore names the running pods that were made before a time.
func podsBefore(ctx context.Context, config *rest.Config, since time.Time) (names []string, problem string) {
	return list(ctx, config, "pods", "status.phase=Running", func(m metav1.ObjectMeta) bool { return m.CreationTimestamp.Time.Before(since) })
}

// list reads names only, of whatever is wanted, and at most a thousand.
func list(ctx context.Context, config *rest.Config, resource, fields string, wanted func(metav1.ObjectMeta) bool) (names []string, problem string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), listTimeout)
	defer cancel()
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err.Error()
	}
	all := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: resource})
	options := metav1.ListOptions{FieldSelector: fields, Limit: listPage}
	for {
		page, err := all.List(ctx, options)
		if err != nil {
			return names, fmt.Sprintf("they can't be listed: %v", err)
		}
		for _, item := range page.Items {
			if wanted(item.ObjectMeta) {
				names = append(names, item.Namespace+"/"+item.Name)
			}
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return names, ""
		}
		if len(names) >= maxNames {
			return names, fmt.Sprintf("there are more than these %d", len(names))
		}
	}
}

func printPods(out io.Writer, names []string, problem string) {
	if problem != "" {
		fmt.Fprintf(out, "Pods that may hold a token of before: %s\n", problem)
	}
	if len(names) == 0 {
		return
	}
	const shown = 20
	fmt.Fprintf(out, "Pods of before, %d of them: a program in them that read its token once may hold one that lives a year:\n", len(names))
	for _, name := range names[:min(len(names), shown)] {
		fmt.Fprintf(out, "  %s\n", name)
	}
	if len(names) > shown {
		fmt.Fprintf(out, "  and %d more: -o json has them all\n", len(names)-shown)
	}
}

// PrintSecrets says to people which there are.
func PrintSecrets(out io.Writer, names []string, problem string) {
	if problem != "" {
		fmt.Fprintf(out, "Secrets with tokens that live for ever: %s\n", problem)
	}
	if len(names) == 0 && problem != "" {
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
