// The sandbox image: what containerd starts to hold a pod's namespaces, and a small HTTP server
// with which the tests of the harness itself see that pods and Services work.
//
//	sandbox             wait for a signal, and reap whatever is left to it
//	sandbox serve PORT  answer each request with the name of this pod
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		go serve(os.Args[2])
	}
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// serve answers on all addresses; a port that is taken ends the process with its reason.
func serve(port string) {
	name, _ := os.Hostname()
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, name)
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+port, nil))
	os.Exit(1)
}

// reap collects the children that have ended: the sandbox is the pod's first process when its
// containers share a process namespace.
func reap() {
	for {
		child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if child <= 0 || err != nil {
			return
		}
	}
}
