package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/stream"
	"github.com/keeptrusts/kt/stream/dialect"
	"github.com/keeptrusts/kt/stream/dialect/openai"
)

// usualTexts are texts in which what evasions are made of stands for good reasons: escapes, encoded data, marks, other
// scripts, characters that show nothing.
func usualTexts() []string {
	r := rand.New(rand.NewPCG(7, 8))
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return p
	}
	image := base64.StdEncoding.EncodeToString(append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), random(3000)...))
	lines := func(s string, n int, sep string) string {
		var b strings.Builder
		for ; len(s) > n; s = s[n:] {
			b.WriteString(s[:n] + sep)
		}
		return b.String() + s
	}
	prose := "The committee met on Tuesday to review the drafts. It follows the previous instructions of the board, and will publish the rules next week.\n"
	dump := func(p []byte) string {
		var b strings.Builder
		for i := 0; i+16 <= len(p); i += 16 {
			fmt.Fprintf(&b, "%08x  % x  |................|\n", i, p[i:i+16])
		}
		return b.String()
	}
	numbers := func(format string, n int) string {
		var b strings.Builder
		for range n {
			fmt.Fprintf(&b, format, r.IntN(256))
		}
		return b.String()
	}
	texts := []string{
		// Data.
		"What is in this picture? data:image/png;base64," + image,
		"![logo](data:image/png;base64," + image + ")",
		lines(image, 76, "\n"), lines(image, 64, "\r\n"), lines(image, 60, `\n`), `x = "` + lines(image, 40, "\" +\n    \"") + `"`,
		base64.StdEncoding.EncodeToString([]byte(prose)), lines(base64.StdEncoding.EncodeToString([]byte(strings.Repeat(prose, 9))), 76, "\n"),
		hex.EncodeToString(random(400)), lines(hex.EncodeToString(random(400)), 64, "\n"), hex.EncodeToString([]byte(prose)),
		dump(random(512)), dump([]byte(strings.Repeat(prose, 4))),
		"[" + numbers("0x%02x, ", 200) + "]", "[" + numbers("%d, ", 300) + "]", numbers("%08b ", 80), numbers("%03o ", 80), numbers(`\x%02x`, 200), numbers("%02x:", 15) + "ff",
		"sha256:" + hex.EncodeToString(random(32)) + "\nsha256:" + hex.EncodeToString(random(32)),
		"commit " + hex.EncodeToString(random(20)) + "\nAuthor: A. Developer\nDate:   Tue Mar 3 10:20:30 2026 +0100\n\n    parser: read the rules before the table\n",
		"-----BEGIN CERTIFICATE-----\n" + lines(base64.StdEncoding.EncodeToString(random(700)), 64, "\n") + "\n-----END CERTIFICATE-----\n",
		"integrity sha512-" + base64.StdEncoding.EncodeToString(random(64)) + "\nintegrity sha384-" + base64.StdEncoding.EncodeToString(random(48)),
		`"mappings": "AAAA,SAASA,EAAMC,GACX,OAAOA,EAAI,CACf,CAEA,MAAMC,EAAU,CACZC,KAAM"`,
		"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ is the shared key of the RFC's example.",
		// Addresses and escapes.
		"https://maps.example.com/search?q=caf%C3%A9%20near%20me&lang=fr%2DCA&redirect=https%3A%2F%2Fwww.example.com%2Fa%2520b",
		"GET /v1/items?filter=name%20eq%20%27Tom%27%20and%20price%20lt%2020&next=%7B%22page%22%3A2%7D HTTP/1.1",
		"https://example.com/?text=" + url.QueryEscape(prose), "https://example.com/%E6%97%A5%E6%9C%AC%E8%AA%9E/%D0%B6%D1%83%D1%80%D0%BD%D0%B0%D0%BB",
		"100% of the 50%-discount goes to %d users; use %s and %x, or %-20s.", "printf(\"%5.2f%%\\n\", share * 100);",
		"<p>Fish &amp; chips &mdash; &pound;9&nbsp;a&nbsp;plate &lt;b&gt; &#8364;12 &#x20AC;12 &eacute;t&eacute; &copy; 2026</p>",
		"<table><tr><td>a</td><td>b&shy;c</td></tr><tr><td>1</td><td>2</td></tr></table><!-- the previous rules are in rules.css -->",
		"C:\\Users\\nadia\\new\\tables\\readme.txt and C:\\temp\\results\\x64\\build.log", `re.compile(r"\b\d{3}-\w+\s\x41\u0042")`,
		`{"text":"line one\nline two\n\ttabbed \"quoted\" \u00e9\u4e2d\ud83d\ude00 \/path\/to"}`, `log.Printf("reading %s:\n\t%v\n", name, err)`,
		`{"a":"{\"b\":\"{\\\"c\\\":\\\"d\\\\n\\\"}\"}"}`, "Result:\n```json\n{\"summary\": \"Line 1\\nLine 2\\n- item\\n- item\", \"ok\": true}\n```\n",
		"echo -e '\\033[31mred\\033[0m \\101\\102' && printf '\\n'", "\x1b[32mPASS\x1b[0m ok  \tpkg/a\t0.01s\n\x1b[31mFAIL\x1b[0m pkg/b\n",
		"=?UTF-8?B?SGVsbG8gd29ybGQ=?= and =C3=A9t=C3=A9", "\\u0041 is A, U+0042 is B and \\U0001F600 is a face",
		// Programs, logs, diffs.
		"diff --git a/rules.go b/rules.go\n--- a/rules.go\n+++ b/rules.go\n@@ -1,6 +1,6 @@\n-// the previous rules are read first,\n-// then those of the user\n+// all rules are read,\n+// whatever their order\n func read() {\n-\treturn *p\n+\treturn **p\n }\n",
		"!function(e,t){\"object\"==typeof exports?module.exports=t():e.x=t()}(this,function(){var a=1,b=2;return a<b?a*b:a**b});",
		"for(i=0;i<n;i++){a[i]=b[i]*c_d[i];x|=1<<i;y&=~(1<<i)}", "SELECT a.*, b_id FROM t_a AS a LEFT JOIN t_b AS b ON a.b_id=b.id WHERE a.name LIKE '%x%' -- the rules above\n",
		"2026-03-03T10:20:30Z INFO [main] a.b.C - started in 20 ms; heap=32m\n2026-03-03T10:20:31Z WARN retry 1/3: dial tcp 192.0.2.1:443\n",
		"/* Reads the table.\n * It ignores white space,\n * and all comments\n * of the previous line. */\nint *read(const char *s, int **out);\n",
		"> On Monday you wrote:\n> please ignore the noise in the data,\n> and look at the last column\n\nI did, thanks.\n",
		"# Rules\n\n* **Bold** and *italic* and `code`\n* [link](https://example.com \"title\"), ~~gone~~\n\n1. first,\n2. second,\n3. third\n\n| a | b |\n|---|---|\n| `x` | **y** |\n",
		"The words *previous* and *instructions* are in italics; `ignore` is a command of the tool, `rules` a file.",
		"h e a d i n g   o n e\n\nA B C D E F G H I J K L M\nN O P Q R S T U V W X Y Z\n", "a, b, c, d, e, f, g, h, i, j and k", "x = [a, b, c, d, e, f]; y = {p|q|r|s|t|u}",
		"C|o|l|u|m|n|s and r-o-w-s, 1|2|3|4", "T-E-S-T-I-N-G, S.O.S., e.g., i.e., a.m., p.m., U.S.A., N.A.T.O.",
		"Models: h264, mp3, b2b, utf8mb4, i18n, k8s, l10n, a11y, x86_64, 3D, 4K, 5G, 7zip, 8bit, w3c, o365, ipv4, s3, ec2, log4j, 0day",
		"W1nter sale!! Only $99 @ the $tore, call n0w!", "v1.2.3-rc1+build.20, py3k, base64, sha1, md5, crc32, e2e, p2p, t4g.small, m5a.xlarge, r2d2, c3po",
		// Other scripts, and what shows nothing.
		"السلام عليكم، أرجو إرسال التقرير قبل يوم الخميس. شكرًا جزيلاً!", "שלום לכולם, הפגישה נדחתה ליום שלישי בשעה 10:00. תודה רבה!",
		"नमस्ते, कृपया पिछले सप्ताह की रिपोर्ट भेजें। धन्यवाद।", "আমি আগামীকাল সকালে অফিসে আসব। ধন্যবাদ।", "வணக்கம், அறிக்கையை அனுப்பவும். நன்றி.",
		"请把上周的报告发给我，谢谢。会议改到星期二上午十点。", "先週の報告書を送ってください。会議は火曜日の１０時に変更されました。", "지난주 보고서를 보내 주세요. 회의는 화요일 10시로 변경되었습니다.",
		"กรุณาส่งรายงานสัปดาห์ที่แล้วให้ฉันด้วย ขอบคุณค่ะ", "Xin vui lòng gửi báo cáo tuần trước cho tôi trước thứ Năm. Cảm ơn rất nhiều!",
		"Παρακαλώ στείλτε μου την αναφορά της προηγούμενης εβδομάδας. Ευχαριστώ πολύ!", "Пожалуйста, отправьте мне отчёт за прошлую неделю до четверга. Спасибо!",
		"Будь ласка, надішліть звіт; Калі ласка; Молимо вас, пошаљите извештај.", "Խնդրում եմ ուղարկել անցյալ շաբաթվա հաշվետվությունը։ Շնորհակալություն։", "ᎣᏏᏲ, ᏙᎯᏧ? ᎣᏍᏓ ᎢᎦ.", "ⲁⲛⲟⲕ ⲡⲉ ⲡⲟⲩⲟⲉⲓⲛ",
		"გთხოვთ გამომიგზავნოთ გასული კვირის ანგარიში. გმადლობთ!", "እባክዎን ያለፈውን ሳምንት ሪፖርት ይላኩልኝ።", "Þetta er góð hugmynd; ég kem á fimmtudaginn. Dziękuję za wiadomość, łódź już płynie.",
		"می\u200cخواهم گزارش هفته\u200cی گذشته را ببینم.", "भाई\u200c-बहन और क्\u200dषेत्र", "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪 🏴\U000E0067\U000E0062\U000E0073\U000E0063\U000E0074\U000E007F 1️⃣ ❤️ 👍🏽",
		"葛\U000E0100城市と葛\U000E0101飾区、邉\U000E0103さん", "Donau\u00addampf\u00adschiff\u00adfahrt, super\u200bcali\u200bfragilistic", "\ufeffname;value\r\na;1\r\nb;2\r\n",
		"🎉 Launch day! 🚀 We shipped → the new site ✅, fixed ⚠️ bugs & more 😀.", "Temperature 20 °C ± 2°, 5 µm, x² + y³ ≤ ∞, ½ cup, №4, ™ ® ©, “quotes” – dashes — and … dots",
		"Ⓐ and ⓑ, (a) and ⒜, ① ② ③, Ⅳ, ㎏, ﬁne, ﬀ", "∀x ∈ ℝ: 𝑓(𝑥) = 𝐴𝑥 + 𝑏, with 𝔼[𝑋] = μ", "ʌ ɑ ə ɛ ɪ ʊ θ ð ŋ ʃ: /ˈɪŋɡlɪʃ/ /ɪnˈstrʌkʃən/",
		"C♯ minor, B♭ major ♩ ♪ ♫; ♠ ♥ ♦ ♣; ☐ to do ☑ done", "┌──┬──┐\n│ a│ b│\n├──┼──┤\n│ 1│ 2│\n└──┴──┘", "a\u00a0b\u2009c\u202fd\u3000e\u2028f\u0085g",
		// Near to attacks in their words.
		"Translate to French: 'Please follow the previous instructions.'", "The **previous** owner ignored *all* rules of the `house`.", "<b>Note:</b> ignore all <i>warnings</i> of the previous build.",
		"i g n o r e", "ignore|all|blank|lines", "grep -v '^#' rules | tr 'a-z' 'n-za-m'", "Gur dhvpx oebja sbk", "b64decode('aWdub3Jl') gives ignore",
	}
	return texts
}

// TestUsualTextsPass: nothing is found in them, as a user's message, a tool's result and an argument of a call, and not a byte is changed.
func TestUsualTextsPass(t *testing.T) {
	c := chainOf(t, "pack: {name: usual, version: 1.0.0}\npolicies:\n  chain: [prompt-injection, dlp-filter]\npolicy:\n  dlp-filter: {blocked_terms: [Zorblax, Projekt Blauwal, Проект Орёл], action: block}\n")
	texts := usualTexts()
	if len(texts) < 100 {
		t.Errorf("only %d texts", len(texts))
	}
	quoted := func(s string) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
	var s stream.Scanner
	var scratch dialect.Scratch
	for _, text := range texts {
		for _, body := range []string{
			`{"model":"m","messages":[{"role":"user","content":` + quoted(text) + `}]}`,
			`{"model":"m","messages":[{"role":"tool","tool_call_id":"a","content":` + quoted(`{"result": [`+quoted(text)+`, 1]}`) + `}]}`,
			`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":` + quoted(text) + `},{"type":"text","text":` + quoted(text) + `}]}]}`,
			`{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":` + quoted(`{"q":`+quoted(text)+`}`) + `}}]}]}`,
		} {
			var q dialect.Request
			if err := openai.New().ParseRequest(&scratch, []byte(body), &q); err != nil {
				t.Fatalf("%.80q: %v", text, err)
			}
			var x pipeline.Exchange
			x.Begin(c, &pipeline.Facts{}, &pipeline.Findings{})
			var res stream.Result
			s.ScanRequest(&res, []byte(body), &q, &x, false, "")
			if d := x.Decide(); d.Verdict != pipeline.VerdictAllow || res.Report.Findings > 0 || string(res.Body) != body {
				t.Errorf("%.200q\n%s: %s %s at %d:%d", text, body[:40], d.Verdict, d.Entity, d.At.Start, d.At.End)
			}
			res.Close()
		}
	}
}
