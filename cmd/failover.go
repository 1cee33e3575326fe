package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keeptrusts/kt/internal/audit"
)

// failoverText is what every target of the showing answers.
const failoverText = "The lock fills, the boat rises, and nobody on deck saw which of the three engines pumped the water."

func (a *app) demoFailoverCmd() *cobra.Command {
	return &cobra.Command{
		Use: "failover", Short: "show a target dying while the client does not notice",
		Args: usageArgs(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.show(c.Context(), (*demo).failover)
		},
	}
}

// target is one provider of the showing, a process that can be killed.
type demoTarget struct {
	name, addr string
	child      *child
}

// run starts the target's process, ending the one before.
func (d *demo) run(t *demoTarget, more ...string) error {
	d.kill(t)
	args := append([]string{"mock", "--listen", t.addr, "--text", failoverText, "--piece", "3", "--delay", "6ms"}, more...)
	c, err := d.start(t.name, "http://"+t.addr+"/v1/models", args...)
	t.child = c
	return err
}

// kill ends the target's process at once, as a crash does.
func (d *demo) kill(t *demoTarget) {
	if t.child == nil {
		return
	}
	_ = t.child.Process.Kill()
	<-t.child.done
	for i, p := range d.procs {
		if p == t.child {
			d.procs = append(d.procs[:i], d.procs[i+1:]...)
			break
		}
	}
	t.child = nil
}

func (d *demo) failover() error {
	text, err := templateFS.ReadFile("templates/failover.yaml")
	if err != nil {
		return err
	}
	config := string(text)
	targets := []*demoTarget{{name: "first"}, {name: "second"}, {name: "third"}}
	for i, t := range targets {
		if t.addr, err = loopback(); err != nil {
			return err
		}
		config = strings.Replace(config, fmt.Sprintf("127.0.0.1:4101%d", i+1), t.addr, 1)
		if err := d.run(t); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(d.dir, "failover.yaml"), []byte(config), 0o644); err != nil {
		return err
	}
	addr, err := loopback()
	if err != nil {
		return err
	}
	url := "http://" + addr
	if _, err := d.start("gateway", url+"/readyz", "gateway", "run", "--listen", addr, "--policy-config", "failover.yaml"); err != nil {
		return err
	}
	d.say("gateway %s in front of three targets, asked in order; after 300 ms of silence the next one is asked as well\n", url)
	first, second := targets[0], targets[1]

	d.head(1, "All three are well")
	if err := d.told(url); err != nil {
		return err
	}
	d.head(2, "The first accepts the request and then says nothing")
	if err := d.run(first, "--fault", "stall_first"); err != nil {
		return err
	}
	if err := d.told(url); err != nil {
		return err
	}
	d.head(3, "The first begins an answer and dies before its first word")
	if err := d.run(first, "--fault", "role_cut"); err != nil {
		return err
	}
	if err := d.told(url); err != nil {
		return err
	}
	d.head(4, "The first two are killed (kill -9)")
	d.kill(first)
	d.kill(second)
	if err := d.told(url); err != nil {
		return err
	}
	d.say("\n$ kt gateway status --url %s\n", url)
	status := &app{env: &Env{Args: []string{"gateway", "status", "--url", url}, Stdin: d.a.env.Stdin, Stdout: d.a.env.Stdout, Stderr: d.a.env.Stderr, Now: d.a.env.Now}}
	c := status.gatewayStatusCmd()
	c.SetArgs([]string{"--url", url})
	c.SilenceErrors, c.SilenceUsage = true, true
	return c.ExecuteContext(d.ctx)
}

// told asks once and shows what the client saw and what went on behind it.
func (d *demo) told(url string) error {
	begin := time.Now()
	resp, err := d.post(url, "How does a canal lock lift a boat?", true, "gpt-5.4-mini")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the client noticed: HTTP %d", resp.StatusCode)
	}
	id := resp.Header.Get("X-Request-Id")
	head := time.Since(begin)
	if err := d.print(resp); err != nil {
		return fmt.Errorf("the client noticed: %w", err)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		events, _, err := audit.Read(filepath.Join(d.dir, "data-gateway", "audit"), audit.Filter{RequestID: id})
		if err != nil {
			return err
		}
		if len(events) == 0 || events[0].Type != audit.Terminal.String() {
			continue
		}
		var r struct {
			Attempts []struct {
				Target, Result string
				Ms             float64
				Probe          bool
			}
		}
		if err := json.Unmarshal(events[0].Raw, &r); err != nil {
			return fmt.Errorf("read audit record: %w", err)
		}
		d.say("    behind it:")
		for _, t := range r.Attempts {
			d.say(" %s=%s", t.Target, t.Result)
			if t.Probe {
				d.say("(asked beside)")
			}
		}
		d.say("; first byte after %d ms\n", head.Milliseconds())
		return nil
	}
	return fmt.Errorf("there is no audit record of %s", id)
}
