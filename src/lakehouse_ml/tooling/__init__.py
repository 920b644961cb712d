"""What writes parts of the project itself: drafts of use cases, the flow and the reference pages."""
