// Command azure is the least that a custom handler of Azure Functions with the same identity and storage clients can be, for the
// publisher to stand beside.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
)

func main() {
	identity, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := azblob.NewClient("https://account.blob.core.windows.net", identity, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Addr: net.JoinHostPort("127.0.0.1", os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")), ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := r.FormValue("blob")
			if name == "" {
				_, _ = io.WriteString(w, "{}")
				return
			}
			blob, err := client.DownloadStream(r.Context(), r.FormValue("container"), name, nil)
			if err == nil {
				defer blob.Body.Close()
				_, err = io.Copy(w, blob.Body)
			}
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
			}
		}),
	}
	log.Fatal(server.ListenAndServe())
}
