package dash

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
)

// policy lets a page load what this server has, and nothing else: no script or
// style in a page itself, no frame around it, no form that goes elsewhere.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// secure sets what every answer says to the browser.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	// Not no-referrer, with which browsers send forms with the origin null.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

// tokenName is the hidden field of every form that acts.
const tokenName = "token"

// token is what the forms of a user carry. Another user, or the same after the
// server has started again, has another one.
func (d *Dash) token(user string) string {
	mac := hmac.New(sha256.New, d.key)
	mac.Write([]byte("form\x00" + user))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// checkForm reads the form of an action and refuses one that is not from a page
// of ours. A browser adds a user's password to whatever form another site has
// it send, so that the password alone says nothing.
func (d *Dash) checkForm(w http.ResponseWriter, v *visit) error {
	v.Body = http.MaxBytesReader(w, v.Body, maxForm)
	err := v.ParseForm()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &fault{Status: http.StatusRequestEntityTooLarge, Title: "Too much text", Text: "The form has more than 64 KiB. Go back and write less."}
	case err != nil:
		return badRequest("The form cannot be read (%v). Go back and send it again.", err)
	case d.origins.Check(v.Request) != nil:
		return &fault{Status: http.StatusForbidden, Title: "Not from here", Text: "The form was sent from another site, and nothing was done. Open the page here and act there."}
	case !hmac.Equal([]byte(v.PostForm.Get(tokenName)), []byte(d.token(v.user))):
		return &fault{Status: http.StatusForbidden, Title: "The page is old", Text: "It was made before the server started, or for another user, and nothing was done. Go back, load the page again, and repeat what you did."}
	}
	return nil
}
