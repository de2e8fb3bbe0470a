package main

import (
	"bufio"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestReflectedPassword checks that no error shows a password that the server, or the proxy, sends back where package
// net/http quotes it.
func TestReflectedPassword(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("user:SECRETPW"))
	answers := map[string]string{
		"header":            "HTTP/1.1 200 OK\r\nX: {}\x01\r\nContent-Length: 0\r\n\r\n",
		"no header":         "HTTP/1.1 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n",
		"no HTTP":           "{}\r\n\r\n",
		"status":            "HTTP/1.1 {}\r\n\r\n",
		"version":           "HTTP/{} 200 OK\r\n\r\n",
		"length":            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
		"encoding":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: {}\r\n\r\n",
		"redirect":          "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://x:{}%zz/\r\n\r\n",
		"status text":       "HTTP/1.1 403 {}\r\nContent-Length: 0\r\n\r\n",
		"text":              "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\nyou are {}, that is user:SECRETPW, or SECRETPW, and nobody else.",
		"chunk":             "HTTP/1.1 403 No\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n",
		"host":              "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://{}.invalid/\r\n\r\n",
		"small letters":     "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://secretpw.invalid/\r\n\r\n",
		"wide letters":      "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://ＳＥＣＲＥＴＰＷ.invalid/\r\n\r\n",
		"zone":              "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://[::1%25SECRETPW]:1/\r\n\r\n",
		"port":              "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://secretpw:99999/\r\n\r\n",
		"early answer":      "HTTP/1.1 103 {}\r\nX: {}\x01\r\n\r\n",
		"control character": "HTTP/1.1 200 \x1b{}\r\n\x1b: {}\r\n\r\n",
	}
	for name, answer := range answers {
		for _, proxy := range []bool{false, true} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			asked := make(chan string, 100)
			go answerBack(l, answer, asked)
			at := l.Addr().String()
			cmd := exec.Command("narseal", "cache", "verify", "http://user:SECRETPW@"+at)
			cmd.Env = append(os.Environ(), "http_proxy=", "HTTP_PROXY=")
			if proxy {
				cmd = exec.Command("narseal", "cache", "verify", "http://cache.invalid")
				cmd.Env = append(os.Environ(), "http_proxy=http://user:SECRETPW@"+at)
			}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != statusError || !strings.Contains(string(out), "error: ") {
				t.Fatalf("%s: %v: %s", name, err, out)
			}
			select {
			case got := <-asked:
				if got != secret {
					t.Fatalf("%s: the server was sent %q", name, got)
				}
			default:
				t.Fatalf("%s: the server was sent no password: %s", name, out)
			}
			shown := strings.ToLower(string(out))
			if strings.Contains(string(out), secret) || strings.Contains(shown, "secretpw") || strings.Contains(shown, "\x1b") || strings.Contains(shown, "lookup") {
				t.Errorf("%s, proxy %t: %s", name, proxy, out)
			}
		}
	}
}

// TestReflectedToken is TestReflectedPassword for the token of an S3 session.
func TestReflectedToken(t *testing.T) {
	const token = "SECRETTOKEN"
	for _, message := range []string{"<Code>{}</Code>", "<Message>you are {}</Message>", "<Code>PermanentRedirect</Code><Region>{}</Region>", "{}"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		asked := make(chan string, 100)
		go answerBack(l, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n<Error>"+message+"</Error>", asked)
		cmd := exec.Command("narseal", "cache", "verify", "s3://bucket?region=eu-west-1&scheme=http&endpoint="+l.Addr().String())
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=SECRETKEY", "AWS_SESSION_TOKEN="+token)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != statusError || !strings.Contains(string(out), "error: ") {
			t.Fatalf("%s: %v: %s", message, err, out)
		}
		select {
		case got := <-asked:
			if got != token {
				t.Fatalf("%s: the server was sent %q", message, got)
			}
		default:
			t.Fatalf("%s: the server was sent nothing", message)
		}
		if strings.Contains(string(out), "SECRET") {
			t.Errorf("%s: %s", message, out)
		}
	}
}

// answerBack answers each request with what it says of who asks in place of {}.
func answerBack(l net.Listener, answer string, asked chan<- string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			got := req.Header.Get("X-Amz-Security-Token")
			if got == "" {
				got = strings.TrimPrefix(req.Header.Get("Authorization")+req.Header.Get("Proxy-Authorization"), "Basic ")
			}
			select {
			case asked <- got:
			default:
			}
			_, _ = c.Write([]byte(strings.ReplaceAll(answer, "{}", got)))
		}
		c.Close()
	}
}
