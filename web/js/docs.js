// The API's description, shown by Swagger UI from this farm's own files.

window.SwaggerUIBundle({
	url: "openapi.json",
	dom_id: "#api",
	deepLinking: true,
	validatorUrl: null, // its default asks a host on the internet
});
