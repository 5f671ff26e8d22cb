// Every page loads this module. What follows the server comes with its events.
export {};
