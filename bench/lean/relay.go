package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/hertz/pkg/network/standard"
	"github.com/cloudwego/hertz/pkg/protocol/http1/resp"
)

// relayHertz is the floor: the smallest relay with the same server and client
// libraries as the gateway. It parses nothing, scans nothing, logs nothing:
// body in, body out, one write per read.
func relayHertz(listen, upstream string) error {
	hlog.SetLevel(hlog.LevelFatal)
	client := &http.Client{Transport: transport()}
	h := server.New(
		server.WithHostPorts(listen),
		server.WithTransport(standard.NewTransporter),
		server.WithSenseClientDisconnection(true),
		server.WithStreamBody(false),
		server.WithDisablePrintRoute(true),
	)
	h.GET("/readyz", func(_ context.Context, c *app.RequestContext) { c.SetStatusCode(http.StatusOK) })
	h.POST("/v1/chat/completions", func(ctx context.Context, c *app.RequestContext) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, upstream+"/v1/chat/completions", bytes.NewReader(c.Request.Body()))
		if err != nil {
			c.SetStatusCode(http.StatusInternalServerError)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+os.Getenv("OPENAI_API_KEY"))
		ans, err := client.Do(req)
		if err != nil {
			c.SetStatusCode(http.StatusBadGateway)
			return
		}
		defer ans.Body.Close()
		c.SetStatusCode(ans.StatusCode)
		c.Response.Header.SetContentType(ans.Header.Get("Content-Type"))
		if ans.ContentLength >= 0 {
			body, err := io.ReadAll(ans.Body)
			if err != nil {
				c.SetStatusCode(http.StatusBadGateway)
				return
			}
			c.Response.SetBodyRaw(body)
			return
		}
		w := resp.NewChunkedBodyWriter(&c.Response, c.GetWriter())
		c.Response.HijackWriter(w)
		buf := make([]byte, 4096)
		for {
			n, err := ans.Body.Read(buf)
			if n > 0 {
				if _, e := w.Write(buf[:n]); e != nil {
					return
				}
				if e := w.Flush(); e != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	h.Spin()
	return nil
}

// relayNet is net/http's own reverse proxy, flushing at once.
func relayNet(listen, upstream string) error {
	to, err := url.Parse(upstream)
	if err != nil {
		return fmt.Errorf("parse upstream: %w", err)
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Set("Authorization", "Bearer "+os.Getenv("OPENAI_API_KEY"))
		},
		FlushInterval: -1,
		Transport:     transport(),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		// Without this net/http closes the request body at the first byte of the
		// answer, and the transport, still looking for the body's end, drops the connection.
		_ = http.NewResponseController(w).EnableFullDuplex()
		p.ServeHTTP(w, r)
	})
	s := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return s.ListenAndServe()
}

func transport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 512,
		DisableCompression:  true,
	}
}
