"""An HTTP framework on Klein: dispatch, validation, problem details, streaming and OpenAPI. It knows no resource."""
