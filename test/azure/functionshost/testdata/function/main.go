// Command function is a custom handler that does what its message says, for the tests of functionshost.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if os.Getenv("START") == "exit" {
		fmt.Println("no luck today")
		os.Exit(4)
	}
	err := http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), http.HandlerFunc(answer))
	fmt.Println(err)
	os.Exit(1)
}

func answer(w http.ResponseWriter, r *http.Request) {
	payload, _ := io.ReadAll(r.Body)
	fmt.Printf("%s %s %s\n", r.Method, r.URL.Path, payload)
	var call struct {
		Data map[string]json.RawMessage
	}
	_ = json.Unmarshal(payload, &call)
	said := ""
	if r.URL.Path == "/web" {
		var request struct{ Body string }
		_ = json.Unmarshal(call.Data["request"], &request)
		said = request.Body
	} else {
		_ = json.Unmarshal(call.Data["message"], &said)
		_ = json.Unmarshal([]byte(said), &said)
	}
	w.Header().Set("Content-Type", "application/json")
	switch said {
	case "fail":
		w.WriteHeader(http.StatusInternalServerError)
	case "text":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, `{"Outputs": {}}`)
		return
	case "empty":
		return
	case "null":
		fmt.Fprint(w, `null`)
		return
	case "no output":
		fmt.Fprint(w, `{"Outputs": {}}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Outputs": map[string]any{"answer": map[string]any{
		"statusCode": 418, "headers": map[string]string{"X-One": "1"}, "body": string(payload),
	}}})
}
