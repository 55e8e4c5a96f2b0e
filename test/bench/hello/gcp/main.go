// Command gcp is the least that a function on Google Cloud with the same framework and storage client can be, for the publisher to stand
// beside.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"cloud.google.com/go/storage"
	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

func main() {
	client, err := storage.NewClient(context.Background(), storage.WithJSONReads())
	if err != nil {
		log.Fatal(err)
	}
	functions.HTTP("Webhook", func(w http.ResponseWriter, r *http.Request) {
		if name := r.FormValue("object"); name != "" {
			object, err := client.Bucket(r.FormValue("bucket")).Object(name).NewReader(r.Context())
			if err == nil {
				defer object.Close()
				_, err = io.Copy(w, object)
			}
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
			}
			return
		}
		fmt.Fprintln(w, "hello")
	})
	log.Fatal(funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")))
}
