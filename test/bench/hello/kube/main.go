// Command kube is the least program with client-go that does a part of the exporter's work: it lists the API servers' EndpointSlice every
// ten seconds. It takes the address of one, the file of its authority and that of a token. Memory and processor time of the exporter stand beside this one's.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func main() {
	fmt.Fprintln(os.Stderr, run(os.Args[1], os.Args[2], os.Args[3]))
	os.Exit(1)
}

// run ends only with an error.
func run(address, authority, token string) error {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + address, BearerTokenFile: token, TLSClientConfig: rest.TLSClientConfig{CAFile: authority}, Timeout: 5 * time.Second,
	})
	if err != nil {
		return err
	}
	for ; ; time.Sleep(10 * time.Second) {
		slices, err := client.DiscoveryV1().EndpointSlices("default").List(context.Background(), meta.ListOptions{})
		if err != nil {
			return err
		}
		fmt.Println(len(slices.Items))
	}
}
